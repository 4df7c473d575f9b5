"""A run before it begins: memory, time, disk, and settings without evidence. Nothing is trained, no weight is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from dpo_core.data.pairs import Example
from dpo_core.model.logprobs import Method
from dpo_core.model.remote_code import trusted_code
from dpo_core.model.score import rows_of as scored_rows
from dpo_core.preflight.answers import token_bytes
from dpo_core.preflight.memory import OnMeta
from dpo_core.preflight.operations import NOTHING, Costs, Operations, rows_of_step, steps_of
from dpo_core.preflight.ranges import outside
from dpo_core.preflight.speed import SCORED, Rate, layer_counts
from dpo_core.recipe import Recipe, Training
from dpo_core.recipe_file import load_recipe
from dpo_core.train.batches import total_steps
from dpo_core.train.loop import sequences_of
from infra.errors import InfraError
from infra.settings import Settings
from tasks.preflight.disk import disk_use, free_disk
from tasks.preflight.machine import Launch, Machine, disk_speed, launch_of, this_machine
from tasks.preflight.model import on_meta
from tasks.preflight.needs import Needs, scored_row
from tasks.preflight.online import UNTIMED, Answering, answering_of
from tasks.preflight.probe import Probed, ProbeOrder, probed
from tasks.preflight.questions import AskedQuestions, questions_of
from tasks.preflight.records import Duration, PhaseMemory, Preflight, Trial, UntriedSetting, Volume
from tasks.preflight.rows import Rows, from_champion, rows_of
from tasks.runtime.datasets import pinned
from tasks.runtime.models import local_model, require_usable
from tasks.runtime.scratch import scratch_folder

if TYPE_CHECKING:
    import torch

STEPS = 10  # of a trial
PROGRAM = 620 << 20  # bytes of a training process without a model, where none could be started
BEST = Method("shared", head=True)
ASKED = 16  # prompts of the evaluation that an answer's step is timed on
COUNTED = 1024  # pairs that are laid out to count the operations of a pass over all


@dataclass(frozen=True)
class Estimator:
    """Of one run; each figure is found once."""

    recipe: Recipe
    folder: Path
    trusted: str | None
    settings: Settings
    rows: Rows
    machine: Machine
    launch: Launch
    processor: bool = False  # its seconds, not the clock's
    answering: Answering | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def training(self) -> Training:
        """How it is trained."""
        return self.recipe.training

    @cached_property
    def on_meta(self) -> OnMeta:
        """Makes the model without memory."""
        return on_meta(self.folder, self.trusted)

    @cached_property
    def shapes(self) -> "torch.nn.Module":
        """The model without memory."""
        return self.on_meta(None)

    @cached_property
    def weights(self) -> int:
        """How many the model has."""
        return sum(p.numel() for p in self.shapes.parameters())

    @cached_property
    def trained(self) -> int:
        """How many are trained."""
        return sum(p.numel() for p in self.on_meta(self.training).parameters() if p.requires_grad)

    @cached_property
    def costs(self) -> Costs:
        """Operations."""
        return Costs.of(self.shapes)

    @cached_property
    def speed(self) -> Probed | None:
        """Of this machine, on a few layers; None where even those have no room, or it failed: a note says why."""
        ends = self.weights - self.costs.token / 2
        few = 16 * (2 * ends + sum(layer_counts(self.costs)) * self.costs.token / 2 / self.costs.layers)
        if few > 0.8 * self.machine.available:
            self.notes.append("no speed was measured: not even a few layers of the model have room in the free memory")
            return None
        try:
            return self.probe(0)
        except InfraError as error:
            self.notes.append(f"no speed was measured: {error.says}")
            return None

    @property
    def method(self) -> Method:
        """How log-probs are computed; the best way, where it was not tried."""
        if self.speed is None:
            return BEST
        return Method("shared" if self.speed.mode == "shared" else "packed", self.speed.head)

    def probe(self, trial: int) -> Probed:
        """Steps on this machine, in a process of their own."""
        asked = self.questions.widest
        order = ProbeOrder(
            model_folder=str(self.folder),
            trusted_code=self.trusted,
            training=self.training,
            seed=self.recipe.seed,
            threads=self.settings.num_threads,
            trial=trial,
            questions=[list(ids) for ids in asked.prompts[:ASKED]],
            width=min(asked.width, asked.answers),
            processor=self.processor,
        )
        with scratch_folder(self.settings.home) as scratch:
            return probed(scratch, order, self.rows.train)

    @cached_property
    def needs(self) -> Needs:
        """Of memory."""
        program = PROGRAM if self.speed is None else self.speed.program
        around = self.machine, self.launch, program
        return Needs(self.on_meta, self.rows, self.recipe, self.method, *around, self.answering)

    @cached_property
    def memory(self) -> list[PhaseMemory]:
        """Of each phase; empty, and a note, for a model whose work is not known from shapes."""
        if self.speed is not None and self.speed.mode == "padded":
            self.notes.append("memory was not counted: this model's log-probs are computed by transformers alone")
            return []
        try:
            row, dtype = scored_row(self.rows, SCORED), self.training.dtype
            found = [] if self.training.reference_free else [self.needs.reference(row, dtype)]
            return [*found, self.needs.training(self.training), self.needs.evaluation(row, self.questions, dtype)]
        except RuntimeError as error:  # an operation whose size depends on numbers, as experts that are chosen by them
            first = (str(error).splitlines() or [type(error).__name__])[0]
            self.notes.append(f"memory was not counted: the shapes do not tell what this model does ({first[:120]})")
            return []

    @cached_property
    def questions(self) -> AskedQuestions:
        """What the evaluation asks the models."""
        return questions_of(self.recipe, self.folder, self.trusted, self.rows)

    @cached_property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return self.answering.steps if self.answering else total_steps(self.rows.pairs - self.aside, self.training)

    @cached_property
    def aside(self) -> int:
        """Pairs that training.early_stopping sets aside, about."""
        wanted = self.training.early_stopping
        return 0 if wanted is None else round(wanted.share * self.rows.pairs)

    @cached_property
    def batches(self) -> list[list[Example]]:
        """Some of its steps."""
        chosen = steps_of(len(self.rows.train), self.training, self.recipe.seed)
        return [[self.rows.train[i] for i in step] for step in chosen]

    @cached_property
    def works(self) -> list[Operations]:
        """Of each of these steps, over all ranks."""
        return [
            self.costs.rows([row for rows in ranks for row in rows], share=self.method.share)
            for batch in self.batches
            for ranks in [rows_of_step(batch, self.training, ranks=self.launch.ranks, share=self.method.share)]
        ]

    @cached_property
    def volume(self) -> Volume:
        """What there is to compute."""
        tokens = [sum(2 * len(e.prompt_ids) + len(e.chosen_ids) + len(e.rejected_ids) for e in b) for b in self.batches]
        rows = self.needs.largest_rows(self.training)
        answers = [len(e.chosen_ids) + len(e.rejected_ids) for e in (*self.rows.train, *self.rows.held_out)]
        everything = self.rows.pairs + self.rows.held_out_pairs
        return Volume(
            steps=self.steps,
            pairs=self.rows.pairs,
            held_out_pairs=self.rows.held_out_pairs,
            held_out_prompts=self.rows.held_out_prompts,
            left_out=round(self.rows.left_out, 4),
            tokens=round(mean(tokens) * self.steps),
            computed=round(mean(work.tokens for work in self.works) * self.steps),
            longest_row=max(self.costs.row(row, share=self.method.share).tokens for row in rows),
            responses=2 * everything,
            answer_tokens=round(mean(answers) * everything),
        )

    @cached_property
    def checkpoints(self) -> int:
        """That are written on the way."""
        return (self.steps - 1) // self.training.save_steps

    def seconds(self, writing: float) -> Duration:
        """`writing`: seconds of all checkpoints."""
        if self.speed is None or self.speed.mode == "padded":
            return Duration(reference=None, training=None, step=None, evaluation=None)
        rate, score = Rate(*self.speed.train), Rate(*self.speed.score)
        step = mean(rate.seconds(work) for work in self.works) / self.launch.ranks + self.speed.update_s
        everything = score.seconds(self.scored)
        share = self.rows.held_out_pairs / (self.rows.pairs + self.rows.held_out_pairs)
        size, seeds = token_bytes(self.shapes, self.training.dtype), self.training.seeds
        answers = self.questions.seconds(seeds, size, self.speed.answer_step_s, score.layers * self.costs.token)
        return Duration(
            reference=0.0 if self.training.reference_free else round(everything, 1),
            training=round(step * self.steps + self.measuring(everything) + writing, 1),
            step=round(step, 3),
            evaluation=round(answers + seeds * share * everything, 1),
        )

    def measuring(self, everything: float) -> float:
        """Seconds that training.early_stopping measures, if all pairs take `everything`."""
        wanted = self.training.early_stopping
        times = 0 if wanted is None else math.ceil(self.steps / wanted.eval_steps)
        return times * self.aside * everything / (self.rows.pairs + self.rows.held_out_pairs)

    @cached_property
    def scored(self) -> Operations:
        """Of the log-probs of every answer once."""
        pairs = [*self.rows.train, *self.rows.held_out]
        some = pairs[:: max(1, len(pairs) // COUNTED)]
        sequences = list(dict.fromkeys(sequences_of(some)))
        share = self.method.share
        rows = [[sequences[i] for i in row] for row in scored_rows(sequences, SCORED, share=share)]
        work = self.costs.rows(rows, share=share) if rows else NOTHING
        times = (self.rows.pairs + self.rows.held_out_pairs) / len(some)
        return Operations(round(work.tokens * times), work.layers * times, work.head * times)

    def tried(self, checkpoints: int) -> Trial:
        """The first steps of the run itself."""
        found = self.probe(STEPS)
        first, *rest = found.step_s
        step = mean(rest or [first])
        all_steps = first + step * (self.steps - 1) + found.checkpoint_s * checkpoints
        if self.speed is not None and self.training.early_stopping is not None:
            all_steps += self.measuring(Rate(*self.speed.score).seconds(self.scored))
        return Trial(
            steps=len(found.step_s),
            step=round(step, 3),
            training=round(all_steps, 1),
            peak=found.device_peak or found.peak,
            program=0 if found.device_peak else found.program,
        )


def preflight(
    path: str, overrides: Sequence[str], settings: Settings, *, trial: bool = False, processor: bool = False
) -> Preflight:
    """Of the run of a recipe. Raises InputError or InfraError for what the run itself could not use.

    `processor`: speed in seconds of the processor, which others at work on this machine hardly change.
    """
    recipe = pinned(load_recipe(path, overrides).recipe)
    folder = local_model(recipe.model, settings.home, pin=recipe.trust_remote_code)
    trusted = trusted_code(recipe.trust_remote_code, folder)
    require_usable(folder, trusted)
    rows = rows_of(recipe, folder, trusted, settings)
    answering = answering_of(recipe, folder, trusted, settings)
    run = Estimator(recipe, folder, trusted, settings, rows, this_machine(), launch_of(settings), processor, answering)
    short = any(phase.phase == "training" and phase.peak > run.machine.available for phase in run.memory)
    disk = disk_use(recipe, weights=run.weights, trained=run.trained, volume=run.volume, settings=settings)
    writing = run.checkpoints * disk.checkpoint / disk_speed(settings.home) if run.checkpoints else 0.0
    if trial and short:
        run.notes.append("no trial was made: what is free does not hold the training")
    found = outside(run.training, weights=run.weights, pairs=rows.pairs)
    return Preflight(
        weights=run.weights,
        trained=run.trained,
        ranks=run.launch.ranks,
        seeds=recipe.training.seeds,
        device=run.machine.device,
        mode=run.method.mode if run.speed is None else run.speed.mode,
        volume=run.volume,
        memory=run.memory,
        available=run.machine.available,
        total=run.machine.total,
        remedies=run.needs.remedies(run.training) if short else [],
        seconds=run.seconds(writing),
        trial=run.tried(run.checkpoints) if trial and not short else None,
        disk=disk,
        free_disk=free_disk(settings.home),
        untried=[UntriedSetting(**vars(one)) for one in found],
        notes=run.notes + ([UNTIMED] if answering else []) + from_champion(recipe),
    )

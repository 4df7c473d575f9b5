"""One training of a trial, judged on the tuning split: remembered by its content, its weights are not kept."""

import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from filelock import FileLock

from dpo_core.data.digests import digest_json, prompt_digest
from dpo_core.data.pairs import EncodedPair, Message, text_of
from dpo_core.errors import Diverged
from dpo_core.evaluate.behaviour import BehaviourCheck, read_checks
from dpo_core.evaluate.evidence import draw_samples
from dpo_core.evaluate.unseen import groups_of
from dpo_core.model.stops import named_ends
from dpo_core.quality.words import count_words
from dpo_core.recipe_tune import DRIFT, LENGTH, NEUTRAL_TEXT
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from tasks.evaluation.measure import Inquiry, measure
from tasks.records import MeasureOutput, Plan, Scored
from tasks.reference.store import reference_sums
from tasks.runtime.models import stored_model
from tasks.runtime.pairs import encoded_pairs
from tasks.runtime.stages import remembered
from tasks.score import score
from tasks.train import discard, train, training_inputs
from tasks.training.checkpoints import forget
from tasks.tune.records import TrialMeasures, TuningSplit

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("dpo.tune")
CODE = ("tasks.tune.judge",)
YARDSTICK = 0.1  # reward per nat for all trials, whatever their own beta: chances can be compared
OBJECTIVES: dict[str, Callable[[float], float]] = {  # of a pair, by its margin in nats
    "rewards/accuracies": lambda margin: 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0,
    "rewards/margins": lambda margin: margin,
    "preference": lambda margin: 1 / (1 + math.exp(-max(-700.0, YARDSTICK * margin))),
}


def judged(plan: Plan, split: TuningSplit, limits: Mapping[str, Sequence[float]], pairs: int) -> TrialMeasures:
    """Train with the plan's settings and seed, and measure; a look-up where that was done before.

    `pairs`: how many the training takes.
    """
    store = open_store(load_settings(), patient=True)
    scored = score(plan, split.rows)
    asked = {name: path for name, path in plan.recipe.evaluation.suites.items() if name in limits}
    questions = {name: plan.files.get(path, "") for name, path in asked.items()}
    questions[NEUTRAL_TEXT] = plan.files.get(plan.recipe.evaluation.neutral_text or "", "")
    inputs = {
        "training": training_inputs(plan, split.rows, scored),
        "questions": questions,
        "answers": plan.recipe.tune.answers if LENGTH in limits else 0,
        "date": plan.recipe.encoding.date,
        "max_new_tokens": plan.recipe.evaluation.max_new_tokens,
        "batch_size": plan.recipe.evaluation.batch_size,
        "ends": named_ends(Path(plan.model_folder)),
        "objective": plan.recipe.tune.objective,
    }

    def compute() -> TrialMeasures:
        suites = {name: read_checks(path) for name, path in asked.items()}
        start = _measured(store, plan, split, scored, suites, limits, inputs)
        with _alone(plan, split, scored):
            try:
                trained = train(plan, split.rows, scored)
            except Diverged:
                discard(plan, split.rows, scored)
                raise
            folder = stored_model(store, trained.model_key, load_settings().home)
            found = _ask(Path(folder), plan, store, split, suites, limits, logps=True)
            rows = _rows(store, split)
            shifts = _shifts(store, rows, scored, start, found)
            shutil.rmtree(folder, ignore_errors=True)
            forget(store, trained.model_key)  # half a gigabyte a trial, which nobody asks for again
        return TrialMeasures(
            weights_sha256=trained.weights_sha256,
            steps=trained.steps,
            pairs=pairs,
            forwards=scored.forwards,
            metrics=_metrics(plan, rows, shifts, suites, start, found),
            judged=split.rows.eval_key,
            by_group=_by_group(plan, rows, shifts),
        )

    found, stage = remembered(store, "trial", inputs, compute, output=TrialMeasures, code=CODE, force=plan.force)
    return found if not stage.cached else found.model_copy(update={"forwards": scored.forwards})


def _alone(plan: Plan, split: TuningSplit, scored: Scored) -> FileLock:
    """Who trains the same settings, in a search beside this one, waits until the model that goes away is measured."""
    name = digest_json(training_inputs(plan, split.rows, scored))[:16]
    folder = load_settings().home / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}-measured.lock")


def _samples(plan: Plan, rows: Sequence[EncodedPair]) -> list[tuple[Message, ...]]:
    """Prompts that are answered for their length."""
    return draw_samples([row.pair for row in rows], plan.recipe.tune.answers)


def _measured(
    store: Store,
    plan: Plan,
    split: TuningSplit,
    scored: Scored,
    suites: Mapping[str, Sequence[BehaviourCheck]],
    limits: Mapping[str, Sequence[float]],
    inputs: Mapping[str, object],
) -> MeasureOutput:
    """The start model's answers to the same questions, asked for once; its log-probs, unless it is the reference."""
    logps = plan.recipe.training.reference_free or plan.model_sha256 != plan.reference_sha256
    asked = {name: value for name, value in inputs.items() if name != "training"}
    asked |= {"start": plan.model_sha256, "tokenizer": plan.tokenizer_sha256, "path": scored.path, "logps": logps}
    asked |= {"data": split.rows.data_sha256, "ids": split.rows.ids_sha256}

    def compute() -> MeasureOutput:
        return _ask(Path(plan.model_folder), plan, store, split, suites, limits, logps=logps)

    return remembered(store, "trial-start", asked, compute, output=MeasureOutput, code=CODE)[0]


def _ask(
    folder: Path,
    plan: Plan,
    store: Store,
    split: TuningSplit,
    suites: Mapping[str, Sequence[BehaviourCheck]],
    limits: Mapping[str, Sequence[float]],
    *,
    logps: bool,
) -> MeasureOutput:
    samples = _samples(plan, _rows(store, split)) if LENGTH in limits else []
    once = plan.recipe.evaluation.model_copy(update={"answers": 1, "again": 0})  # the likeliest, asked for once
    lean = plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"evaluation": once})})
    return measure(folder, lean, store, split.rows, Inquiry(suites, samples, [], logps=logps, path=None))


def _rows(store: Store, split: TuningSplit) -> list[EncodedPair]:
    return encoded_pairs(store, split.rows.eval_key, split.rows.eval_ids_key)


def _metrics(
    plan: Plan,
    rows: Sequence[EncodedPair],
    shifts: Sequence[tuple[float, float]],
    suites: Mapping[str, Sequence[BehaviourCheck]],
    start: MeasureOutput,
    found: MeasureOutput,
) -> dict[str, float]:
    """Margins in nats, without beta, which would scale them; what was lost is positive."""
    metrics = {name: fmean(value(up - down) for up, down in shifts) for name, value in OBJECTIVES.items()}
    metrics[DRIFT] = fmean(-up / len(row.chosen_ids) for (up, _), row in zip(shifts, rows, strict=True))
    for name, checks in suites.items():
        if found.answers[name]:
            right = [[c.passes(a) for c, a in zip(checks, m.answers[name], strict=True)] for m in (start, found)]
            metrics[name] = fmean(right[0]) - fmean(right[1])
    if found.answers["samples"]:
        own, now = (fmean(count_words(answer) for answer in m.answers["samples"]) for m in (start, found))
        if own >= 1:  # what says nothing cannot grow by a factor
            asked = {prompt_digest(prompt) for prompt in _samples(plan, rows)}
            chosen = [count_words(text_of(row.pair.chosen)) for row in rows if prompt_digest(row.pair.prompt) in asked]
            metrics[LENGTH] = length_ratio(now, own, fmean(chosen))
    if found.nll:
        metrics[NEUTRAL_TEXT] = fmean(found.nll.values()) - fmean(start.nll.values())
    return metrics


def _shifts(
    store: Store, rows: Sequence[EncodedPair], scored: Scored, start: MeasureOutput, found: MeasureOutput
) -> list[tuple[float, float]]:
    """By how much the log-probs of chosen and rejected answers have moved from the start model's, in nats."""
    before = reference_sums(store, scored.path, rows) if start.logps is None else _sums(start)
    chosen, rejected = ((new - old).tolist() for new, old in zip(_sums(found), before, strict=True))
    return list(zip(chosen, rejected, strict=True))


def _by_group(
    plan: Plan, rows: Sequence[EncodedPair], shifts: Sequence[tuple[float, float]]
) -> list[tuple[float, int]]:
    """Of each group of alike prompts, in the order in which they come, the objective's sum and the number of pairs."""
    value, found = OBJECTIVES[plan.recipe.tune.objective], dict[int, list[float]]()
    groups = groups_of([row.pair.prompt for row in rows]).tolist()
    for group, (up, down) in zip(groups, shifts, strict=True):
        found.setdefault(group, []).append(value(up - down))
    return [(round(sum(values), 6), len(values)) for values in found.values()]


def length_ratio(now: float, start: float, chosen: float) -> float:
    """Of words to the start model's or the chosen answers', whichever is nearer; 1 from the one to the other.

    Answers on the way to the length of the chosen ones change as the data asks; beyond either end they do not.
    """
    least, most = sorted((start, max(1.0, chosen)))
    return now / min(max(now, least), most)


def _sums(found: MeasureOutput) -> "tuple[Tensor, Tensor]":
    import torch

    assert found.logps is not None
    chosen, rejected = (torch.tensor(found.logps[side], dtype=torch.float64) for side in ("chosen", "rejected"))
    return chosen, rejected

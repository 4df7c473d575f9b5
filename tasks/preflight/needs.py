"""What the phases of a run need of memory: counted on shapes, added up over the processes that are there at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpo_core.model.logprobs import Method
from dpo_core.preflight.answers import Asking, answers_bytes
from dpo_core.preflight.memory import OnMeta, Row, ScoreMemory, StepMemory, score_memory, step_memory
from dpo_core.preflight.operations import rows_of_step, steps_of
from dpo_core.recipe import Lora, Recipe, Training
from dpo_core.train.loop import sequences_of
from tasks.preflight.machine import Launch, Machine
from tasks.preflight.online import Answering
from tasks.preflight.questions import AskedQuestions
from tasks.preflight.records import PhaseMemory, Remedy
from tasks.preflight.rows import Rows

FLOW = 900 << 20  # bytes of the flow's own process while the training process is there: docs/preflight.md
RANK_OF_LORA = 16
MANY_ROWS = 2  # of a step; more do not add to the memory


@dataclass(frozen=True)
class Needs:
    """Counts the memory of a run's phases. `program`: bytes of a process that trains, without its model.

    `answering`: between the steps of a run that learns from its own answers.
    """

    on_meta: OnMeta
    rows: Rows
    recipe: Recipe
    method: Method
    machine: Machine
    launch: Launch
    program: int
    answering: Answering | None = None

    def training(self, training: Training) -> PhaseMemory:
        """Of the processes that train, and of the flow that waits for them."""
        step = self._step(training)
        spread = self.launch.ranks if self.launch.sharded else 1
        state = step.weights + step.gradients + step.optimizer
        buckets = step.gradients if self.launch.ranks > 1 and not self.launch.sharded else 0  # DDP reduces copies
        on_device = step.peak - state + state // spread + buckets
        if self.machine.device == "cuda":
            return _phase("training", on_device, on_device, 0, step)
        process = self.program + on_device
        return _phase("training", self.launch.ranks * process + FLOW, process, self.program, step)

    def reference(self, row: Row, dtype: str) -> PhaseMemory:
        """Of the process of the flow, which scores."""
        found = score_memory(self.on_meta, row, dtype=dtype, method=self.method, device=self.machine.device)
        program = FLOW if self.machine.device == "cpu" else 0
        return _phase("reference", program + found.peak, program + found.peak, program, found)

    def evaluation(self, row: Row, questions: AskedQuestions, dtype: str) -> PhaseMemory:
        """Of the process of the flow, which scores and answers, one model at a time."""
        scored, model = self.reference(row, dtype), self.on_meta(None)
        answers = max(answers_bytes(model, asked, dtype) for asked in (*questions.each, questions.drawn))
        peak = max(scored.peak, scored.program + scored.weights + answers)
        return scored.model_copy(update={"phase": "evaluation", "peak": peak, "process": peak})

    def remedies(self, training: Training) -> list[Remedy]:
        """What needs less, the gentlest first: nothing that changes a weight before what does."""
        longest = max(sum(len(t) for t in (e.prompt_ids, e.chosen_ids, e.rejected_ids)) for e in self.rows.train)
        row = {"tokens_per_row": max(1, min(longest, training.tokens_per_row))}
        again, lora = {"gradient_checkpointing": True}, {"lora": training.lora or Lora(r=RANK_OF_LORA)}
        lower = {"dtype": "bfloat16"}
        found = []
        for changes in (row, row | again, row | again | lower, row | again | lora, row | again | lora | lower):
            if any(getattr(training, key) != value for key, value in changes.items()):
                peak = self.training(training.model_copy(update=changes)).peak
                settings = {f"training.{key}": _written(value) for key, value in changes.items()}
                found.append(Remedy(settings=settings, peak=peak, fits=peak <= self.machine.available))
                if found[-1].fits:
                    break
        return found

    def largest_rows(self, training: Training) -> list[Row]:
        """Of one rank in the step that needs most: the largest row of all, and the next one of its step.

        The longest pair, or the longest that the model's own answers may make, is a row of its own, if no step that is
        looked at has a larger one.
        """
        most: list[Row] = []
        for batch in steps_of(len(self.rows.train), training, self.recipe.seed):
            pairs = [self.rows.train[i] for i in batch]
            for rows in rows_of_step(pairs, training, ranks=self.launch.ranks, share=self.method.share):
                rows = sorted(rows, key=_size, reverse=True)[:MANY_ROWS]
                most = rows if rows and (not most or _size(rows[0]) > _size(most[0])) else most
        alone: list[Row] = [sequences_of([pair]) for pair in self.rows.train]
        if self.answering is not None:
            alone += [self.answering.asked.longest_pair]
        longest = max(alone, key=_size)
        if not most or _size(longest) > _size(most[0]):
            beside = most if training.train_batch_size > 1 else []
            return [longest, *beside][:MANY_ROWS]
        return most

    def _step(self, training: Training) -> StepMemory:
        rows = self.largest_rows(training)
        step = step_memory(self.on_meta, training, rows, method=self.method, device=self.machine.device)
        return step if self.answering is None else self._with_answers(step, training, self.answering.asked)

    def _with_answers(self, step: StepMemory, training: Training, asked: Asking) -> StepMemory:
        """Between steps there are answers and no gradients; a frozen model, where one is needed, is there all along."""
        model = self.on_meta(None)
        same = self.recipe.reference in (None, self.recipe.model)
        none = training.reference_free or (training.lora is not None and same)
        frozen = 0 if none else sum(weight.nbytes for weight in model.parameters())
        answering = step.weights + step.optimizer + answers_bytes(model, asked, training.dtype)
        return replace(step, weights=step.weights + frozen, peak=max(step.peak, answering) + frozen)


def _size(row: Row) -> int:
    """Tokens of its texts, none of them shared: in order of size enough."""
    return sum(len(prompt) + len(answer) for prompt, answer in row)


def _written(value: object) -> str:
    if isinstance(value, Lora):
        return f"{{r: {value.r}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _phase(phase: str, peak: int, process: int, program: int, found: StepMemory | ScoreMemory) -> PhaseMemory:
    terms = {name: value for name, value in vars(found).items() if name != "peak"}
    return PhaseMemory.model_validate({"phase": phase, "peak": peak, "process": process, "program": program, **terms})


def scored_row(rows: Rows, tokens: int) -> Sequence[tuple[tuple[int, ...], tuple[int, ...]]]:
    """As long a row as a pass without gradients makes."""
    row: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    pairs = sorted([*rows.train, *rows.held_out], key=lambda e: -len(e.prompt_ids) - len(e.chosen_ids))
    for pair in pairs:
        for answer in (pair.chosen_ids, pair.rejected_ids):
            if row and sum(len(p) + len(a) for p, a in row) + len(pair.prompt_ids) + len(answer) > tokens:
                return row
            row.append((pair.prompt_ids, answer))
    return row

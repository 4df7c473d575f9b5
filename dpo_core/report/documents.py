"""The JSON documents that stages hand on and commands print, as typed records whose fields are in JSON's order."""

from collections.abc import Iterable
from math import isfinite
from statistics import fmean
from typing import Any, Literal

from pydantic import ConfigDict, Field

from dpo_core.records import Record

Scalar = str | bool | int | float | None  # None: what was no finite number


class ReportRecord(Record):
    """A record that is read back from reports: keys of later versions are kept."""

    model_config = ConfigDict(extra="allow")

    def to_document(self) -> dict[str, object]:
        """Plain data for JSON: the keys that were given, in order."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class TableRecord(ReportRecord):
    """A finding's table; see report.results.Table."""

    title: str = Field(description="of the table")
    header: list[str] = Field(description="of its columns")
    rows: list[list[Scalar]] = Field(description="shares are fractions of 1")


class FindingRecord(ReportRecord):
    """A finding without rows of the data; see report.results.Finding."""

    check: str = Field(description="family/name")
    severity: str = Field(description="info, warn or fail")
    intended: bool = Field(False, description="declared as the aim of the run: shown, not gating")
    feature: str = Field("", description="the word, token or property, where there is one")
    statistics: dict[str, Scalar] = Field({}, description="its numbers by name")
    says: str = Field("", description="what it means and what to do")
    tables: list[TableRecord] = Field([], description="numbers that belong to it")


class MeasureRecord(ReportRecord):
    """A measure with its limits and what it came to: pass, warn or fail."""

    check: str
    value: int | float | None
    warn_above: int | float | None
    fail_above: int | float | None
    outcome: str
    says: str


class QualityDocument(ReportRecord):
    """The data quality report: everything that the page says except the rows that show it."""

    schema_version: int = Field(alias="schema")
    name: str = ""
    verdict: str
    rows_in: int
    rows_kept: int | None = None
    rows_quarantined: int | None = None
    rows_dropped: int | None = None  # by validation.on_shortcut
    findings: list[FindingRecord]
    data_sha256: str = ""
    format: str = ""
    measures: list[MeasureRecord] = Field([])
    facts: dict[str, Any] = Field({})


class Estimate(ReportRecord):
    """A mean with its 95 % interval."""

    value: float = Field(description="the mean")
    low: float = Field(description="of the 95 % interval")
    high: float = Field(description="of the 95 % interval")

    @classmethod
    def of(cls, interval: Iterable[float]) -> "Estimate":
        """From a mean and the ends of its interval."""
        value, low, high = interval
        return cls(value=value, low=low, high=high)


class ShortcutRecord(ReportRecord):
    """A feature that gives the chosen answer away in the data: what is looked for in the trained model."""

    kind: str = Field(description="of the feature: word, first_word, property, amount, ...")
    text: str = Field(description="the word or words, or the name of the property")
    name: str = Field(description="as people read it")
    towards: Literal["chosen", "rejected"] = Field(description="the side that has it")
    treated: Literal["flagged", "intended", "dropped", "weighted"] = Field(
        description="flagged: trained on all the same; intended: declared; dropped, weighted: taken out of the pairs"
    )


class UptakeRecord(ReportRecord):
    """What the models make of one shortcut; by model: `challenger`, `baseline`, `reference`.

    An item is a held-out answer with the shortcut and the same one without; all is of pairs that no model was trained
    on, and in the direction of the data: positive, or above one half, is a preference for it.
    """

    name: str
    towards: str
    treated: str
    items: int
    prompts: int
    reward: dict[str, Estimate] = Field(description="with the shortcut minus without, in units of the reward")
    change: Estimate | None = Field(None, description="the same, challenger minus baseline")
    preference: dict[str, Estimate] = Field(description="chance to prefer the answer with it; 0.5: none")
    pairs_against: int = Field(description="held-out pairs in which it points to the rejected answer")
    accuracy_against: dict[str, Estimate] = Field(description="rewards/accuracies of these")
    pairs_with: int = Field(description="held-out pairs in which it points to the chosen answer")
    accuracy_with: dict[str, Estimate] = Field(description="rewards/accuracies of these")
    answers: int = Field(description="generated")
    shown: dict[str, Estimate] = Field(description="share of the generated answers that show it")
    shown_change: Estimate | None = Field(None, description="the same, challenger minus baseline")
    learnt: bool = Field(description="the challenger's reward for it is beyond chance (95 %)")


class PreferredRecord(ReportRecord):
    """What rewards and judges (`by`) say of the challenger's and the baseline's answers to held-out prompts."""

    by: list[str]
    prompts: int
    unscored: int = Field(0, description="prompts whose answers have no score")
    why: str = Field("", description="the last reason for it")
    tied: float = Field(description="share of the prompts")
    win_rate: Estimate | None = Field(description="of the challenger, a tie one half")
    at_equal_length: Estimate | None = Field(description="the same, were both answers equally long")
    reward: dict[str, Estimate] = Field({}, description="mean reward, by model, where there is one")
    judges: dict[str, Any] = Field({}, description="judge: its report against people's labels")


class AgainRecord(ReportRecord):
    """One model asked the same questions again, in another order and batch: the noise of the measurement itself."""

    asked: int
    changed: Estimate = Field(description="share of the answers that changed")
    flipped: int = Field(description="of these, right answers that became wrong, or the other way round")


class DivergenceRecord(ReportRecord):
    """KL divergence of the challenger from the reference, nats an answer, on answers that it drew itself."""

    prompts: int
    k3: Estimate = Field(description="mean over prompts of the sum over tokens of r - 1 - log r")
    k1: Estimate = Field(description="mean of the log of the ratio of the answers' probabilities")


class ItemScores(ReportRecord):
    """One metric on every item for one model (more is better), and the prompt that each item belongs to."""

    values: list[float]
    clusters: list[str]
    left_out: int = 0


class Flip(ReportRecord):
    """A question whose answer changed from right to wrong, or back."""

    prompt: str
    before: str
    after: str


class Flips(ReportRecord):
    """The questions of a suite that went from right to wrong, and from wrong to right."""

    lost: list[Flip]
    won: list[Flip]


class JumpedMetric(ReportRecord):
    """A metric of the training that jumped, and what it was in the steps before."""

    value: float = Field(description="at that step")
    usual: float = Field(description="median of the steps before")


class JumpedRow(ReportRecord):
    """A pair of a step."""

    id: str = Field(description="digest of the pair")
    where: str = Field(description="file and row, where known")
    loss: float = Field(description="its own, in this step")


class JumpRecord(ReportRecord):
    """A step of the training at which something jumped; see dpo_core/train/recorder.py."""

    step: int = Field(description="the first of them")
    last: int = Field(description="the last step in a row")
    metrics: dict[str, JumpedMetric] = Field(description="loss, grad_norm or displacement")
    pairs: int = Field(description="pairs in that step")
    rows: list[JumpedRow] = Field(description="those of the largest loss, largest first")


class MeasuredStep(ReportRecord):
    """The pairs set aside, measured after a step."""

    step: int
    value: float


class StopRecord(ReportRecord):
    """Which step's weights were kept, by the pairs set aside; see dpo_core/train/early_stopping.py."""

    metric: str = Field(description="tuning_ and what training.early_stopping.metric names")
    pairs: int = Field(description="set aside from training")
    best: MeasuredStep = Field(description="its weights were kept")
    last: MeasuredStep = Field(description="the last measurement")
    planned: int = Field(description="steps that the training would have taken")
    stopped: bool = Field(description="it ended before, after `patience` measurements without a better one")


class SampleAnswers(ReportRecord):
    """What each model answers to a held-out prompt."""

    prompt: str
    reference: str
    challenger: str
    baseline: str = ""


class CheckAnswers(ReportRecord):
    """What each model answers to a prompt of a suite, and whether the challenger's answer holds what it must.

    `sampled`: of each model several answers, where they were asked for, and which of them are `right`.
    """

    prompt: str
    source: str
    reference: str
    challenger: str
    baseline: str = ""
    passes: bool
    sampled: dict[str, list[str]] = Field({})
    right: dict[str, list[bool]] = Field({})


class UnsoundAnswer(ReportRecord):
    """An answer of the challenger that is empty, repeats itself, is in another language, or does not end."""

    prompt: str
    answer: str
    fault: str


class EvaluationEvidence(ReportRecord):
    """What the gate decides on and the run's page shows, of `reference`, `challenger`, `baseline`, and an `anchor`.

    `metrics` and `slices` are the challenger's, `means` each model's, `items` those that the gate compares, `flips`
    each suite's against the baseline; `samples` and `checks` hold every answer, `unsound` those that are no
    answer, `uptake` what became of the data's shortcuts.
    """

    metrics: dict[str, Estimate]
    means: dict[str, dict[str, Estimate]]
    slices: dict[str, dict[str, Estimate]]  # KIND=VALUE of held-out pairs: accuracies, margins, `trivial` rules
    trivial: dict[str, Estimate] = Field({})  # accuracies of rules that understand nothing, on the same pairs
    items: dict[str, dict[str, ItemScores]] = Field({})
    flips: dict[str, Flips]
    samples: list[SampleAnswers]
    checks: dict[str, list[CheckAnswers]]
    unsound: list[UnsoundAnswer] = Field([])
    generated: dict[str, dict[str, Estimate]] = Field({})  # of each model's answers: words, refusals
    uptake: list[UptakeRecord] = Field([])  # of each shortcut of the data that was looked for
    not_looked_for: dict[str, str] = Field({})  # the others, and why
    preferred: PreferredRecord | None = None  # by evaluation.rewards
    again: dict[str, AgainRecord] = Field({})  # of each model, where evaluation.again asks for it
    divergence: DivergenceRecord | None = None  # by evaluation.kl
    sealed: list[str] = Field([])  # suites, "pairs" and "samples" whose figures are of items that the gate did not see

    @property
    def flip_rate(self) -> float:
        """Share of the answers asked for twice, of challenger and baseline, that went from right to wrong or back."""
        again = [self.again[who] for who in ("challenger", "baseline") if who in self.again]
        asked = sum(found.asked for found in again)
        return sum(found.flipped for found in again) / asked if asked else 0.0

    @property
    def gated(self) -> dict[str, float]:
        """The challenger's mean of each metric over the items that the gate sees; of what is no number, none."""
        items = self.items["challenger"].items()
        return {name: fmean(s.values) for name, s in items if s.values and all(map(isfinite, s.values))}

"""The documents that commands print with `--json`: later versions add keys, and change none (docs/json.md)."""

from typing import Any, Literal

from pydantic import Field

from dpo_core.evaluate.gate import Condition, GateVerdict
from dpo_core.records import Document, Record
from dpo_core.report.documents import Estimate, FindingRecord, JumpRecord, StopRecord, UptakeRecord
from tasks.records import Environment, Stage
from tasks.seeds.records import SeedLine, SpreadLine


class CheckDocument(Document):
    """`dpo check`: the verdict on a data set, and what was found."""

    verdict: Literal["pass", "warn", "fail"] = Field(description="fail: exit code 3")
    rows_in: int = Field(description="rows read, of all sources")
    rows_kept: int = Field(description="rows to train on and rows held out")
    rows_quarantined: int = Field(description="rows that cannot be used: quarantine.jsonl has them and why")
    rows_dropped: int = Field(description="rows left out by validation.on_shortcut")
    report: str = Field(description="the page, on this machine")
    findings: list[FindingRecord] = Field(description="what a person should know, in the order of the checks")
    data_sha256: str = Field(description="of every column of every kept row, weights and the split")
    format: str = Field(description="the shapes that the rows had")
    compare: dict[str, Any] | None = Field(None, description="what changed since --compare REPORT; only with it")

    def to_json(self) -> dict[str, object]:
        """The document as plain data, without `compare` where nothing was compared."""
        return self.model_dump(mode="json", by_alias=True, exclude=None if self.compare else {"compare"})


class DataCheckFailed(RuntimeError):
    """The pairs must not be trained on; `document` says why. `name`: of the model, or of the curation's data set."""

    def __init__(self, document: CheckDocument, name: str) -> None:
        reasons = [f.says for f in document.findings if f.severity == "fail" and not f.intended]
        super().__init__(f"the data check failed: {'; '.join(reasons[:3])} (report: {document.report})")
        self.document, self.name = document, name

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.document, self.name)


class StageLine(Record):
    """One stage of a run."""

    name: str = Field(description="check, score, train, evaluate, register, gate or promote")
    cached: bool = Field(description="a look-up: nothing was computed")
    seconds: float = Field(description="of wall time")

    @classmethod
    def of(cls, stage: Stage) -> "StageLine":
        """Seconds are rounded to hundredths."""
        return cls(name=stage.name, cached=stage.cached, seconds=round(stage.seconds, 2))


class ReferenceCounts(Record):
    """The reference pass: answers, those that were known, those that the model was asked for."""

    rows: int = Field(description="different answers of the pairs")
    hits: int = Field(description="answers whose log-probs were stored")
    forwards: int = Field(description="answers that the model was asked for")


class OnlineFigures(Record):
    """What a run learned from of its own answers."""

    pairs: int = Field(description="of new answers that it was trained on")
    prompts: int = Field(description="asked, each pass counted")
    answers: int = Field(description="drawn and scored")
    tokens: int = Field(description="generated")
    ended: str = Field(description="why the training ended before its last step, in words; else empty")


class TrainingFigures(Record):
    """The training."""

    steps: int = Field(description="optimizer steps")
    first_dpo_loss: float = Field(
        description="preference term of the first step, whatever the loss; of sigmoid ln 2 nats where policy and "
        "reference are the same model"
    )
    pairs_per_second: float = Field(description="at the end of the training")
    loss: str = Field("sigmoid", description="its name, or each part of a mixture after its weight")
    online: OnlineFigures | None = Field(None, description="of a run that learned from its own answers; null: none")
    jumps: list[JumpRecord] = Field([], description="steps at which loss, gradient norm or drift jumped, with rows")
    early_stopping: StopRecord | None = Field(None, description="which step's weights were kept; null: the last one's")


RetrainState = Literal["promoted", "held", "rejected", "nothing_new", "waiting_for_approval"]


class RetrainDocument(Document):
    """`dpo retrain`: what became of a run."""

    state: RetrainState = Field(description="nothing_new: every stage was a look-up, or no pair was new; exit code 0")
    verdict: GateVerdict = Field(description="the gate's")
    changed: bool = Field(description="false where every stage was a look-up")
    model: str = Field(description="the registered model")
    version: int = Field(description="of the registered model, made or found")
    champion_version: int | None = Field(description="the present champion, also of a look-up")
    not_promoted: str = Field("", description="why the champion stays though the verdict is promote; else empty")
    waiting_until: str | None = Field(
        None, description="until when the version, which passed the gate, waits for approval, ISO 8601; else null"
    )
    reasons: list[str] = Field([], description="what decided, in words")
    metrics: dict[str, Estimate] = Field({}, description="the new version's, with 95 % intervals")
    uptake: list[UptakeRecord] = Field([], description="what the models make of the data's shortcuts")
    mlflow_run_id: str = Field(description="the MLflow run")
    weights_sha256: str = Field(description="of the new weights")
    data_sha256: str = Field(description="of every column of every kept row, weights and the split")
    stages: list[StageLine] = Field(description="in order")
    reference: ReferenceCounts = Field(description="the reference pass")
    training: TrainingFigures = Field(description="the training, also where it was looked up")
    seeds: list[SeedLine] = Field([], description="of training.seeds, where it is more than 1")
    spread: dict[str, SpreadLine] = Field({}, description="of each metric of the gate over these seeds")
    unstable: str = Field(
        "", description="in words, where seeds differ by more than was gained, or one diverged; else empty"
    )
    report: str = Field(description="the page, on this machine")
    data_report: str = Field("", description="the page of the data check, on this machine")


class Detectable(Record):
    """One condition of the gate, before its run."""

    metric: str = Field(description="its name")
    rule: str = Field(description="improve, keep or floor")
    prompts: int = Field(description="different ones that it is measured on")
    effect: float = Field(
        description="smallest true difference shown with 80 % power, were 20 % of the answers to change; of floor: how "
        "far above it the truth must be"
    )
    needed: int = Field(
        0,
        description="prompts below which it cannot hold, whatever comes: of improve, were every one won; of keep, were "
        "no answer to change; of floor, were all right",
    )
    assumed: bool = Field(
        False, description="so many prompts are an example: the data check counts those of the held-out pairs"
    )

    @property
    def says(self) -> str:
        """In words, for people."""
        would = f"{self.prompts} held-out prompts would show" if self.assumed else f"{self.prompts} prompts show"
        shows = f"{self.rule} {self.metric}: {would}"
        if self.rule == "floor":
            return f"{shows} a true level {self.effect:.2g} above it with 80 % power"
        shows += f" a true difference of {self.effect:.2g} or more"
        return f"{shows} with 80 % power, were 20 % of the answers to change"

    @property
    def obstacle(self) -> str:
        """Why it cannot hold with so many prompts; empty if it can."""
        if self.prompts >= self.needed:
            return ""
        best = {
            "improve": "were every one won",
            "keep": "unless answers get better: were none to change",
            "floor": "were all answers right",
        }
        return f"{self.rule} {self.metric}: {self.prompts} prompts cannot show it, {best[self.rule]}"


class BeforeAfter(Record):
    """One metric of the models compared; `low` and `high`: the challenger's 95 % interval."""

    metric: str
    reference: float
    challenger: float
    low: float
    high: float
    champion: float | None


class SideBySide(Record):
    """One prompt with the answers of reference and challenger."""

    prompt: str
    before: str
    after: str


class Drift(Record):
    """What moved on held-out pairs, in nats against the reference."""

    chosen_logratio: float
    rejected_logratio: float
    margin: float


class GateLine(Record):
    """The gate's verdict, its reasons, and what was compared with."""

    verdict: GateVerdict
    reasons: list[str]
    baseline: Literal["reference", "champion", "version"]
    conditions: list[Condition] = Field([], description="all of them, those too that did not decide")
    notes: list[str] = Field([], description="what else to know of the rules")


class RetrainDisplay(Record):
    """What people see of a run beside its document: on the terminal and on its page."""

    before_after: list[BeforeAfter]
    answers: list[SideBySide]
    drift: Drift
    gate: GateLine
    learnt: list[str] = Field([], description="shortcuts of the data that it learned unmeant, in words")
    scores: str = Field("", description="what the figures in `before_after` are of, in words")
    report: str = Field(description="the data quality report, on this machine")
    run_url: str


class Retrained(Record):
    """The end of a run: its document for programs, its display for people."""

    document: RetrainDocument
    display: RetrainDisplay


class EvaluateDocument(Document):
    """`dpo evaluate`: metrics of a model on pairs, against a reference if there is one."""

    pairs: int = Field(description="pairs that the figures are of")
    rows_in: int = Field(description="rows read")
    rows_quarantined: int = Field(description="rows that cannot be used")
    model: str = Field(description="as it was named")
    reference: str | None = Field(description="null: log ref is 0 (reference-free rewards, beta * log pi)")
    beta: float = Field(description="reward per nat of log-ratio")
    metrics: dict[str, Estimate] = Field(description="TRL's names; means over pairs with 95 % intervals")
    slices: dict[str, dict[str, Estimate]] = Field(description="the same by source of the pairs")


class GateDocument(Document):
    """`dpo gate`: the verdict on scores from elsewhere, by the conditions of the rules and no others."""

    verdict: GateVerdict = Field(description="the worst of the conditions'; all but promote: exit code 4")
    conditions: list[Condition] = Field(description="improve, keep against the baseline, against the anchor, floor")
    notes: list[str] = Field(description="what else to know of the rules, in words")


class GateCases(Document):
    """`dpo gate` with a `case` in the lines: many gates in one call, exit code 0 once all are judged."""

    cases: dict[str, GateDocument] = Field(description="by case, in the order of the file")


LinkStatus = Literal["verified", "recorded", "damaged", "missing"]


class Link(Record):
    """One thing that a version came from; `recorded`: its digest is known, and there is nothing here to check it on."""

    what: str = Field(
        description="record, weights, registered, data, reference, evaluation, report, base model, code or parent"
    )
    says: str = Field(description="in words")
    sha256: str = Field(description="its digest")
    status: LinkStatus = Field(description="recorded: nothing here to compare it with")


class Lineage(Record):
    """`dpo lineage`: a version, everything that it came from, and its parent's lineage."""

    name: str = Field(description="registered model")
    version: int = Field(description="of it")
    mlflow_run_id: str = Field(description="the MLflow run that made it")
    verdict: Literal["pass", "fail"] = Field(description="fail where a digest is wrong or an object is gone")
    again: str = Field("", description="the command that makes its weights again, where they were removed")
    links: list[Link] = Field(description="what it came from")
    recipe: dict[str, Any] = Field(description="the effective recipe")
    environment: Environment = Field(description="where the run ran")
    parent: "Lineage | None" = Field(description="of the version that the run started from, if it was one")

    @property
    def passes(self) -> bool:
        """Whether every digest is right, of its ancestors too."""
        return self.verdict == "pass" and (self.parent is None or self.parent.passes)

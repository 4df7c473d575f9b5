"""The documents that commands print with `--json`: later versions add keys, and change none (docs/json.md)."""

from typing import Any, Literal

from pydantic import Field

from dpo_core.evaluate.gate import GateVerdict
from dpo_core.records import Document, Record
from dpo_core.report.documents import Estimate, FindingRecord
from tasks.records import Environment, Stage


class CheckDocument(Document):
    """`dpo check`: the verdict on a data set, and what was found."""

    verdict: Literal["pass", "warn", "fail"]
    rows_in: int = Field(description="rows read, of all sources")
    rows_kept: int = Field(description="rows to train on and rows held out")
    rows_quarantined: int = Field(description="rows that cannot be used: quarantine.jsonl has them and why")
    rows_dropped: int = Field(description="rows left out by validation.on_shortcut")
    report: str = Field(description="the page, on this machine")
    findings: list[FindingRecord] = Field(description="what a person should know, in the order of the checks")
    data_sha256: str = Field(description="of every column of every kept row, weights and the split")
    format: str = Field(description="the shapes that the rows had")
    compare: dict[str, Any] | None = Field(None, description="only with --compare: what changed since that report")

    def to_json(self) -> dict[str, Any]:
        """The document as plain data, without `compare` where nothing was compared."""
        return self.model_dump(mode="json", by_alias=True, exclude=None if self.compare else {"compare"})


class DataCheckFailed(RuntimeError):
    """The pairs must not be trained on; `document` says why."""

    def __init__(self, document: CheckDocument) -> None:
        reasons = [f.says for f in document.findings if f.severity == "fail" and not f.intended]
        super().__init__(f"the data check failed: {'; '.join(reasons[:3])} (report: {document.report})")
        self.document = document

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.document,)


class StageLine(Record):
    """One stage of a run."""

    name: str
    cached: bool = Field(description="a look-up: nothing was computed")
    seconds: float

    @classmethod
    def of(cls, stage: Stage) -> "StageLine":
        """Seconds are rounded to hundredths."""
        return cls(name=stage.name, cached=stage.cached, seconds=round(stage.seconds, 2))


class ReferenceCounts(Record):
    """The reference pass: answers, those that were known, those that the model was asked for."""

    rows: int
    hits: int
    forwards: int


class TrainingFigures(Record):
    """The training."""

    steps: int
    first_dpo_loss: float = Field(description="nats; ln 2 where policy and reference are the same model")
    pairs_per_second: float


class RetrainDocument(Document):
    """`dpo retrain`: what became of a run."""

    verdict: GateVerdict = Field(description="the gate's")
    changed: bool = Field(description="false where every stage was a look-up")
    model: str = Field(description="the registered model")
    version: int
    champion_version: int | None = Field(description="after the run")
    mlflow_run_id: str
    weights_sha256: str
    data_sha256: str
    stages: list[StageLine]
    reference: ReferenceCounts
    training: TrainingFigures
    report: str = Field(description="the page, on this machine")


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
    baseline: Literal["reference", "champion"]


class RetrainDisplay(Record):
    """What people see of a run beside its document: on the terminal and on its page."""

    before_after: list[BeforeAfter]
    answers: list[SideBySide]
    drift: Drift
    gate: GateLine
    report: str = Field(description="the data quality report, on this machine")
    run_url: str


class Retrained(Record):
    """The end of a run: its document for programs, its display for people."""

    document: RetrainDocument
    display: RetrainDisplay


class EvaluateDocument(Document):
    """`dpo evaluate`: metrics of a model on pairs, against a reference if there is one."""

    pairs: int
    rows_in: int
    rows_quarantined: int
    model: str
    reference: str | None = Field(description="null: log ref is 0 (reference-free rewards, beta * log pi)")
    beta: float
    metrics: dict[str, Estimate] = Field(description="TRL's names; means over pairs with 95 % intervals")
    slices: dict[str, dict[str, Estimate]] = Field(description="the same by source of the pairs")


class Link(Record):
    """One thing that a version came from; `recorded`: its digest is known, and there is nothing here to check it on."""

    what: str
    says: str
    sha256: str
    status: Literal["verified", "recorded", "damaged", "missing"]


class Lineage(Record):
    """`dpo lineage`: a version, everything that it came from, and its parent's lineage."""

    name: str
    version: int
    mlflow_run_id: str
    verdict: Literal["pass", "fail"] = Field(description="fail where a digest is wrong or an object is gone")
    links: list[Link]
    recipe: dict[str, Any]
    environment: Environment
    parent: "Lineage | None"

    @property
    def passes(self) -> bool:
        """Whether every digest is right, of its ancestors too."""
        return self.verdict == "pass" and (self.parent is None or self.parent.passes)

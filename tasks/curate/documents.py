"""The documents of `dpo curate --json`: later versions add keys, and change none (docs/json.md)."""

from typing import Any, Literal

from pydantic import Field

from dpo_core.curate.curves import RoundFacts
from dpo_core.evaluate.gate import GateVerdict
from dpo_core.records import Document, Record
from tasks.documents import StageLine


class SpentLine(Record):
    """What a curation has spent at an endpoint, in all its runs."""

    endpoint: str = Field(description="its name in the recipe")
    calls: int = Field(description="that went out")
    tokens: int = Field(description="of prompts and replies")
    in_doubt: int = Field(description="of the calls: sent by a run that was killed, without a reply yet")


class CurateDocument(Document):
    """`dpo curate`: the data set version that was made, of what, and what was left out."""

    dataset: str = Field(description="dataset:NAME@NUMBER, as data.train of a recipe takes it")
    changed: bool = Field(description="false: a version held exactly these pairs already")
    rows: int = Field(description="pairs of the version")
    new: int = Field(description="pairs that the version before it did not hold")
    way: Literal["correction", "rewards", "feedback"] = Field(description="how the pairs were made")
    model: str = Field(description="who answered, by a name that does not move")
    prompts: int = Field(description="prompts answered; of feedback: answers that were served")
    answers: int = Field(description="answers that pairs were made of")
    pilot: str = Field(description="what the pilot promised, in words; empty: nothing had to be drawn")
    left_out: dict[str, int] = Field(description="prompts that were not answered, by reason")
    dropped: dict[str, int] = Field(description="prompts or answers without a pair, by reason")
    notes: list[str] = Field(description="what to know of the choice, in words")
    facts: RoundFacts | None = Field(description="length, diversity and reward of the answers; null: not scored")
    changes: dict[str, float] = Field(description="of corrections: quantiles of the share of words changed")
    judges: dict[str, Any] = Field(description="judge: how it agrees with people, and what it leans to")
    spent: list[SpentLine] = Field(description="at endpoints")
    verdict: Literal["pass", "warn", "fail"] = Field(description="of the data check; fail: exit code 3, no version")
    report: str = Field(description="the page of the data check, on this machine")
    mlflow_run_id: str = Field(description="the MLflow run")
    stages: list[StageLine] = Field(description="of this run")


class RoundLine(Record):
    """One round: what was made, what was trained on it if anything was, and what the gate said."""

    number: int = Field(description="from 1")
    curation: CurateDocument = Field(description="the pairs, of the answers of the model that the round began with")
    model: str | None = Field(
        description="models:/NAME/VERSION that was trained on them; null: none, for the answers had run away"
    )
    verdict: GateVerdict | None = Field(description="the gate's; null: nothing was trained")
    metrics: dict[str, float] = Field(description="of the new model, on what is held out")


class RoundsDocument(Document):
    """`dpo curate` of a recipe with `rounds`: every round, and why there is no further one."""

    rounds: list[RoundLine] = Field(description="in order")
    ended: str = Field(description="why no further round was made, in words")

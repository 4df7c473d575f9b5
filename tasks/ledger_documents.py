"""The documents of `dpo promote`, `rollback`, `hold`, `approve` and `history`."""

from typing import Literal

from pydantic import Field

from dpo_core.records import Document, Record
from infra.ledger.promotions import Kind


class PromotionDocument(Document):
    """`dpo promote`, `dpo approve`, `dpo rollback`, `dpo hold`: what was recorded, and what holds after it."""

    model: str = Field(description="the registered model")
    action: Kind | Literal["none"] = Field(description="what was recorded; none: it was so already")
    changed: bool = Field(description="false where it was so already")
    champion_version: int | None = Field(description="the present champion")
    held: bool = Field(description="whether no run may promote")
    waiting: list[int] = Field(description="versions that wait for approval")
    overtaken: list[int] = Field(description="of these, those over a former champion: `dpo promote` asks anew")
    entry: int = Field(description="number of the ledger's last entry")


class HistoryEntry(Record):
    """One record of the ledger."""

    seq: int = Field(description="its number: 1, 2, 3, ...")
    at: str = Field(description="when, ISO 8601 in UTC")
    sha256: str = Field(description="of the stored object; the next one names it")
    kind: Kind = Field(description="what was done")
    version: int | None = Field(description="to which version; null: to the name, or no champion")
    weights_sha256: str = Field(description="of that version")
    over: int | None = Field(description="the champion before")
    over_weights_sha256: str = Field(description="of that champion")
    who: str = Field(description="a person's name or login; empty where unknown")
    why: str = Field(description="in their words, or the gate's")
    by_run: bool = Field(description="a retrain did it")
    expires: str | None = Field(description="of a wait: until when")
    evidence: dict[str, str] = Field(description="keys in the store, and the MLflow run")


class History(Document):
    """`dpo history`: the ledger of a name, and what follows from it."""

    model: str = Field(description="the registered model")
    champion_version: int | None = Field(description="as the ledger says")
    verdict: Literal["pass", "fail"] = Field(description="fail where there are problems: exit code 1")
    held: str | None = Field(description="why no run may promote; null: it may")
    waiting: list[int] = Field(description="versions that wait for approval")
    overtaken: list[int] = Field(description="of these, those over a former champion: `dpo promote` asks anew")
    expired: list[int] = Field(description="versions that nobody approved in time, where no entry says so yet")
    barred: list[int] = Field(description="versions that a person left: no run promotes them")
    weights_removed: list[int] = Field(description="versions whose weights `registry.keep` removed")
    problems: list[str] = Field(description="what is not as recorded")
    entries: list[HistoryEntry] = Field(description="in order")

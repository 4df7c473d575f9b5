"""The promotion ledger of one model name: what was recorded, and what follows from it (no store, no registry)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import Damaged
from infra.ledger.chain import Entry

Kind = Literal[
    "adopt", "promote", "approve", "rollback", "outside_change", "hold", "lift", "wait", "decline", "expire"
]  # fmt: skip
MOVES = ("adopt", "promote", "approve", "rollback", "outside_change")  # each says which version is champion from now on


class PromotionRecord(BaseModel):
    """One record: who did what to which version, over which, on what evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    version: int | None = Field(None, description="that it is about; null: the whole name, or no champion")
    weights_sha256: str = Field("", description="of that version")
    over: int | None = Field(None, description="the champion before")
    over_weights_sha256: str = ""
    who: str = Field("", description="a person's name or login; of a run, of who began it")
    why: str = ""
    by_run: bool = Field(False, description="a retrain did it, no person")
    expires: str | None = Field(None, description="of a wait: ISO 8601")
    evidence: dict[str, str] = Field({}, description="gate record, evaluation, report: keys in the store")

    @property
    def gated_again(self) -> bool:
        """The end of a wait by a later run of the same weights, which did not pass: no person said no."""
        return self.kind == "decline" and self.by_run


@dataclass(frozen=True)
class LedgerRecord:
    """A record and where it stands in the chain."""

    seq: int
    at: str
    sha256: str
    what: PromotionRecord


@dataclass(frozen=True)
class Standing:
    """What a ledger says now."""

    seq: int = 0
    line: tuple[tuple[int, str], ...] = ()  # champions, version and weights, in the order of their last promotions
    champion: int | None = None
    weights: str = ""  # of the champion
    barred: Mapping[str, LedgerRecord] = field(default_factory=dict)  # weights that a person left: by which record
    held: LedgerRecord | None = None  # no automatic promotion
    waiting: Mapping[int, LedgerRecord] = field(default_factory=dict)  # versions that wait for approval
    settled: Mapping[int, LedgerRecord] = field(default_factory=dict)  # how a version's wait ended
    moved: LedgerRecord | None = None  # the record that made the champion
    records: tuple[LedgerRecord, ...] = field(default=(), repr=False)

    @property
    def first(self) -> int | None:
        """The first champion there was."""
        moves = (record.what for record in self.records if record.what.kind in MOVES)
        return next((what.version for what in moves if what.version is not None), None)

    @property
    def previous(self) -> tuple[int, str] | None:
        """The champion before this one, those gone back from aside: where a rollback goes."""
        earlier = self.line[:-1] if self.champion is not None else self.line
        return next((entry for entry in reversed(earlier) if not self._gone_back_from(entry[1])), None)

    def _gone_back_from(self, weights: str) -> bool:
        """Barred, and not for having been left for a new version: such a champion is still the one before."""
        bar = self.barred.get(weights)
        return bar is not None and not (bar.what.kind == "outside_change" and bar.what.version is not None)


def state_of(entries: Sequence[Entry]) -> Standing:
    """Fold a chain's entries. Raises Damaged for a body that is no record of ours."""
    state = Standing()
    for entry in entries:
        try:
            what = PromotionRecord.model_validate(entry.body)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            says = f"entry {entry.seq} is no promotion record: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            do = "find out who wrote it; a newer version of dpo-pipeline may know it"
            raise Damaged(says, where=f"ledger entry {entry.seq}", do=do) from None
        state = after(state, LedgerRecord(entry.seq, entry.at, entry.sha256, what))
    return state


def after(state: Standing, record: LedgerRecord) -> Standing:
    """The state once this record is there."""
    what = record.what
    state = replace(state, seq=record.seq, records=(*state.records, record))
    if what.kind in MOVES:
        state = _moved(state, record)
    if what.kind == "hold":
        return replace(state, held=record)
    if what.kind == "lift":
        return replace(state, held=None)
    if what.version is None:
        return state
    if what.kind == "wait":
        settled = {version: how for version, how in state.settled.items() if version != what.version}
        waiting = {**state.waiting, what.version: record}
        return replace(state, waiting=waiting, settled=settled)
    if what.version in state.waiting:
        waiting = {version: how for version, how in state.waiting.items() if version != what.version}
        settled = {**state.settled, what.version: record}
        return replace(state, waiting=waiting, settled=settled)
    return state


def expired(wait: LedgerRecord, now: datetime) -> bool:
    """Whether a version has waited for approval longer than it may."""
    return wait.what.expires is not None and datetime.fromisoformat(wait.what.expires) <= now


def still_waiting(state: Standing, now: datetime) -> dict[int, LedgerRecord]:
    """The versions that can still be approved: a wait ends by itself, and is recorded as ended when somebody asks."""
    return {version: wait for version, wait in state.waiting.items() if not expired(wait, now)}


def overtaken(state: Standing, now: datetime) -> list[int]:
    """Those of them that were asked for over a former champion: they are not approved over the present one."""
    waits = still_waiting(state, now).items()
    return sorted(version for version, wait in waits if wait.what.over_weights_sha256 != state.weights)


def _moved(state: Standing, record: LedgerRecord) -> Standing:
    """Another champion. Who goes back, or moves the alias past us, bars the version that he leaves.

    So are the champions between the two, which leave the line: each came after the one that is right. An alias that was
    moved to a version that never was champion says nothing of why: that it was meant is the one thing that is sure,
    and no run undoes it. A champion that is promoted once more comes last, and nobody has left those between.
    """
    what, line = record.what, state.line
    new = None if what.version is None else (what.version, what.weights_sha256)
    barred = dict(state.barred)
    if what.kind in ("rollback", "outside_change"):
        later = line[line.index(new) + 1 :] if new is not None and new in line else ()
        line = line[: len(line) - len(later)]
        left = (what.over_weights_sha256,) if what.over is not None else ()
        barred |= dict.fromkeys((*left, *(weights for _, weights in later)), record)
    if new is not None:
        barred.pop(new[1], None)
        line = (*(champion for champion in line if champion != new), new)
    return replace(
        state,
        line=line,
        champion=what.version,
        weights=what.weights_sha256,
        barred=barred,
        moved=record,
    )

"""What the promotions of a model add up to: its champion, the versions that may not be promoted, those that wait."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from infra.ledger.chain import Entry

Kind = Literal[
    "adopted",  # the alias stood there before the ledger began
    "promoted",
    "rolled_back",
    "moved_outside",  # somebody moved the alias, on MLflow's page or by its API
    "waiting",  # for a person's approval
    "refused",  # by a person who was asked to approve
    "held",  # no run promotes anything until `lifted`
    "lifted",
]
MOVES: tuple[Kind, ...] = ("adopted", "promoted", "rolled_back", "moved_outside")  # of the champion


@dataclass(frozen=True)
class Waiting:
    """A version that waits for approval: since when, until when (UTC), who asked, on what evidence."""

    version: int
    weights_sha256: str
    since: str
    expires: str
    requested_by: str
    evidence: dict[str, str]
    over: int | None  # the champion that it was compared with

    def is_over(self, now: datetime.datetime) -> bool:
        """Whether nobody may approve it any more."""
        return now >= datetime.datetime.fromisoformat(self.expires)


@dataclass
class Standing:
    """The state after the last entry. Version numbers; `champions`: every one there was, oldest first."""

    seq: int = 0
    champions: list[int] = field(default_factory=list)
    champion: int | None = None
    barred: set[int] = field(default_factory=set)
    waiting: dict[int, Waiting] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    held: str = ""  # why; empty: it is not
    last_move: Entry | None = None

    @property
    def first(self) -> int | None:
        """The first champion."""
        return self.champions[0] if self.champions else None

    @property
    def previous(self) -> int | None:
        """The champion before this one that is not barred: what a rollback goes back to."""
        earlier = [version for version in self.champions if version not in self.barred and version != self.champion]
        return earlier[-1] if earlier else None


def standing_of(entries: Iterable[Entry]) -> Standing:
    """Read the entries in order."""
    standing = Standing()
    for entry in entries:
        _apply(standing, entry)
    return standing


def _apply(standing: Standing, entry: Entry) -> None:
    kind, version = entry.body["kind"], entry.body.get("version")
    standing.seq = entry.seq
    if kind == "held":
        standing.held = str(entry.body["why"])
    elif kind == "lifted":
        standing.held = ""
    elif kind == "waiting" and version is not None:
        names = ("weights_sha256", "expires", "requested_by", "evidence", "over")
        standing.waiting[version] = Waiting(version, since=entry.at, **{name: entry.body[name] for name in names})
        standing.refused.discard(version)
    elif kind == "refused" and version is not None:
        standing.waiting.pop(version, None)
        standing.refused.add(version)
    elif kind in MOVES:
        _move(standing, entry, version)


def _move(standing: Standing, entry: Entry, version: int | None) -> None:
    """A new champion. Backwards, every champion since the target is barred; by a promotion, its bar is lifted."""
    left = standing.champion
    if entry.body["kind"] in ("rolled_back", "moved_outside") and left is not None:
        back = version in standing.champions
        since = standing.champions[standing.champions.index(version) + 1 :] if back and version is not None else [left]
        standing.barred |= {*since, left}
    if version is not None:
        standing.barred.discard(version)
        standing.waiting.pop(version, None)
        standing.refused.discard(version)
        if version in standing.champions:
            standing.champions.remove(version)
        standing.champions.append(version)
    standing.champion, standing.last_move = version, entry

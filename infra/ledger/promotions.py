"""Promotions of one registered model: committed to the ledger first; the alias `champion` follows.

The ledger is the truth and its sequence number the fencing token: of two who promote at once, one gets the number.
MLflow's alias has neither (its last writer wins, unseen), so it is a projection. After the alias has been read back,
the entry is marked as projected. An alias that differs from the ledger is therefore late where the last move has no
mark (the writer was killed: `settle` sets it), and moved by somebody else where it has one (`settle` writes that down
and goes by it).
"""

import contextlib
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from infra.errors import Damaged, InfraError
from infra.ledger.chain import Chain, Entry, Moved
from infra.ledger.standing import Kind, Standing, standing_of
from infra.registry import versions
from infra.store.base import Store

log = logging.getLogger("dpo.ledger")
CHAMPION = "champion"
_asked: set[str] = set()  # stores that let one writer alone create an object
RACERS = 4  # who try to create one object at once, to see whether the store lets one alone


class Promotions:
    """The ledger of a model, `promotions/NAME/` in the store, and its alias in the registry."""

    def __init__(self, store: Store, name: str) -> None:
        self.name, self._store = name, store
        self.chain = Chain(store, f"promotions/{name}")

    def settle(self) -> Standing:
        """What the ledger says, with the alias brought in line, or its outside move written down."""
        standing = standing_of(self.read())
        alias = versions.by_alias(self.name, CHAMPION)
        now = alias.number if alias else None
        if now == standing.champion:
            if standing.last_move is not None:
                self._mark(standing.last_move)
            return standing
        last = standing.last_move
        if last is not None and not self._is_projected(last):
            log.warning("alias_late name=%s ledger=%s alias=%s action='set'", self.name, standing.champion, now)
            self._project(last)
            return standing
        kind: Kind = "adopted" if last is None else "moved_outside"
        log.warning("alias_%s name=%s ledger=%s alias=%s", kind, self.name, standing.champion, now)
        weights = alias.weights_sha256 if alias else ""
        why = "the alias stood there when the ledger began" if last is None else "the alias was moved, not by dpo"
        with contextlib.suppress(Moved):  # another process has written it down
            self.record(kind, standing, version=now, weights_sha256=weights, who="unknown", why=why)
        return standing_of(self.chain.entries())

    def read(self) -> list[Entry]:
        """Every entry. Raises Damaged for a chain that was changed by hand, its end removed included."""
        entries = self.chain.entries()
        marks = [int(key.rpartition("/")[2]) for key in self._store.list(f"promotions/{self.name}/projected/")]
        if max(marks, default=0) > len(entries):
            raise Damaged(
                f"the record was changed by hand: entry {max(marks)} was written, and {len(entries)} are there",
                where=f"{self._store.url}/promotions/{self.name}",
                do="put the missing objects back, from a copy of the store or an earlier version of them",
            )
        return entries

    @staticmethod
    def standing(entries: list[Entry]) -> Standing:
        """What these entries add up to."""
        return standing_of(entries)

    def record(self, kind: Kind, standing: Standing, *, who: str, why: str, **more: Any) -> Entry:
        """Commit an entry after the standing that it was decided on; a new champion's alias follows.

        Raises Moved where the ledger went on meanwhile: nothing was changed then. Killed at any point, the ledger says
        which champion there is, and the next `settle` sets the alias.
        """
        require_create_only(self._store)
        body = {"kind": kind, "who": who, "why": why, "over": standing.champion, **more}
        entry = self.chain.append(body, base=standing.seq)
        log.info("ledger_written name=%s seq=%d kind=%s version=%s", self.name, entry.seq, kind, more.get("version"))
        if kind in ("promoted", "rolled_back"):
            self._project(entry)
        else:
            self._mark(entry)
        return entry

    def _project(self, entry: Entry) -> None:
        """Set the alias. A process that was paused in between may set an old one: it looks again, and sets the new."""
        versions.set_alias(self.name, CHAMPION, entry.body["version"])
        newest = standing_of(self.chain.entries()).last_move
        if newest is not None and newest.seq > entry.seq and newest.body["version"] is not None:
            versions.set_alias(self.name, CHAMPION, newest.body["version"])
            entry = newest
        self._mark(entry)

    def _mark(self, entry: Entry) -> None:
        if not self._is_projected(entry):
            self._store.put_bytes(self._mark_of(entry), b"")

    def _is_projected(self, entry: Entry) -> bool:
        return self._store.exists(self._mark_of(entry))

    def _mark_of(self, entry: Entry) -> str:
        return f"promotions/{self.name}/projected/{entry.seq:010d}"


def require_create_only(store: Store) -> None:
    """Raise InfraError if several writers at once may create the same object: without that there is no ledger.

    Each store is asked once a process.
    """
    if store.url in _asked:
        return
    key = f"probe/{uuid.uuid4().hex}"
    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(lambda who: store.put_bytes(key, b"%d" % who, create_only=True), range(RACERS)))
    store.delete(key)
    if sum(won) != 1:
        raise InfraError(
            f"of {RACERS} writers who create one object at once, {sum(won)} are told that they did: two runs could "
            "each promote a model",
            where=store.url,
            do="use a store with conditional writes (If-None-Match: *), as Amazon S3 and SeaweedFS have, or a folder",
        )
    _asked.add(store.url)

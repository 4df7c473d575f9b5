"""An append-only hash chain of create-only objects in the store: `<prefix>/0000000001.json`, `...2.json`, ...

The sequence number is the fencing token: of several writers that saw the same head, one gets to write the next key.
Every object holds the SHA-256 of the bytes before it, so that none can be changed or taken out unseen. The last one has
nothing after it: whoever needs to know that it is the last keeps its number and digest in another place.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from infra.errors import Damaged, InfraError, ObjectMissing, Unavailable
from infra.store.base import AT_ONCE, Store

log = logging.getLogger("dpo.ledger")
FORMAT = 1
TIMES = 5  # that a lost race is decided again
TRIES = 3  # of a write whose fate is unknown; the same bytes under the same key each time
Result = TypeVar("Result")
FIELDS = {"format", "seq", "previous", "writer", "at", "body"}


@dataclass(frozen=True)
class Entry:
    """One object of a chain."""

    seq: int
    previous: str  # SHA-256 (hex) of the bytes of the entry before; empty for the first
    writer: str  # a name of this one write, to know it again
    at: str  # ISO 8601, UTC
    body: dict[str, object]
    sha256: str  # of this entry's bytes


class Moved(InfraError):
    """Another writer was first: what was read before is no longer the end of the chain."""


def again_if_moved(append: Callable[[], Result]) -> Callable[[], Result]:
    """What reads a chain, decides and appends, done again from the reading on where another writer was first."""

    def appended() -> Result:
        for _ in range(TIMES - 1):
            try:
                return append()
            except Moved as moved:
                log.warning("ledger_moved where=%s action='read and decided again'", moved.where)
        return append()

    return appended


class Chain:
    """The chain below `prefix`. Every reader checks all of it."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store, self.prefix = store, prefix

    def entries(self) -> list[Entry]:
        """All entries in order. Raises Damaged where one was changed, taken out or put in, and names it."""
        keys = list(self._store.list(f"{self.prefix}/"))
        for seq, key in enumerate(keys, start=1):
            if key != self._key(seq):
                raise self._damaged(f"entry {seq} of the ledger is missing, and {key} is there", self._key(seq))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return self._checked(pool.map(self._store.get_bytes, keys))

    def append(self, body: Mapping[str, object], *, base: int) -> Entry:
        """Write entry `base + 1`; `base` is the number of the last entry that was read, 0 for none.

        Raises Moved where another writer was first: read again, and decide again. A write whose answer was lost is
        read back before it is believed either way.
        """
        before = self._store.get_bytes(self._key(base)) if base else b""
        previous, at = hashlib.sha256(before).hexdigest() if base else "", datetime.now(UTC).isoformat()
        fields = {"format": FORMAT, "seq": base + 1, "previous": previous, "writer": uuid.uuid4().hex, "at": at}
        data = json.dumps({**fields, "body": body}, ensure_ascii=False, indent=1, sort_keys=True).encode()
        self._write(self._key(base + 1), data)
        return self._parse(base + 1, data)

    def _write(self, key: str, data: bytes) -> None:
        for last in (*[False] * (TRIES - 1), True):
            try:
                won = self._store.put_bytes(key, data, create_only=True)
            except InfraError as error:
                if last or not isinstance(error, Unavailable):
                    raise
                log.warning("ledger_write_unknown key=%s reason=%r", key, error.says)
                won = False
            try:
                there = data if won else self._store.get_bytes(key)
            except ObjectMissing:  # nobody's: the write failed, it did not lose
                if last:
                    raise
                continue
            if there == data:
                return
            do = "look at `dpo history`, then run the same command again"
            raise Moved("another process wrote to the ledger first", where=self._at(key), do=do)

    def _checked(self, objects: Iterable[bytes]) -> list[Entry]:
        found: list[Entry] = []
        for seq, data in enumerate(objects, start=1):
            entry = self._parse(seq, data)
            if entry.previous != (found[-1].sha256 if found else ""):
                changed = seq - 1 if found else seq
                says = f"the chain is broken: entry {seq} does not follow from entry {seq - 1} as it is now"
                raise self._damaged(says, self._key(changed))
            found.append(entry)
        return found

    def _parse(self, seq: int, data: bytes) -> Entry:
        key = self._key(seq)
        try:
            fields = json.loads(data)
            version = fields["format"]
        except (ValueError, KeyError, TypeError):
            raise self._damaged("the ledger's entry cannot be read", key) from None
        if type(version) is int and version > FORMAT:
            says = f"the ledger's entry was written by a newer version: format {version}, this one knows {FORMAT}"
            raise InfraError(
                says, where=self._at(key), do="use the version of dpo-pipeline that wrote it, or a newer one"
            )
        texts = ("previous", "writer", "at")
        right = version == FORMAT and set(fields) == FIELDS and fields["seq"] == seq
        if not right or not isinstance(fields["body"], dict) or not all(isinstance(fields[t], str) for t in texts):
            raise self._damaged("the ledger's entry is not as entries are written", key)
        sha256 = hashlib.sha256(data).hexdigest()
        return Entry(seq, fields["previous"], fields["writer"], fields["at"], fields["body"], sha256)

    def _key(self, seq: int) -> str:
        return f"{self.prefix}/{seq:010d}.json"

    def _at(self, key: str) -> str:
        return f"{self._store.url}/{key}"

    def _damaged(self, says: str, key: str) -> Damaged:
        do = "find out who changed it, and put the object back from a backup or the bucket's versions"
        return Damaged(says, where=self._at(key), do=do)

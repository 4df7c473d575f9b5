"""An append-only record in the store: create-only objects, each with the SHA-256 of the one before it.

`PREFIX/0000000001.json`, and so on. Of several writers one gets each number; what was written is never changed, and a
change, a gap or a removed end is seen (the end only by who has seen it before: `Chain.entries` says how far it went).
"""

import json
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from infra.errors import Damaged, InfraError, ObjectMissing
from infra.store.base import AT_ONCE, Store

FORMAT = 1
KEYS = ("format", "seq", "previous", "writer", "at", "body")


class Moved(InfraError):
    """Another writer appended first; nothing of ours was written."""


@dataclass(frozen=True)
class Entry:
    """One record. `previous`, `sha256`: of the object before it ("" for the first) and of its own; `at`: UTC, ISO."""

    seq: int
    previous: str
    writer: str
    at: str
    body: dict[str, Any]
    sha256: str


class Chain:
    """The records below one prefix."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.store, self.prefix = store, prefix

    def entries(self) -> list[Entry]:
        """All records, in order. Raises Damaged for a gap, a change or what is no record, at its key."""
        keys = [key for key in self.store.list(f"{self.prefix}/0") if key == self._key(_number(key))]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            contents = list(pool.map(self.store.get_bytes, keys))
        found: list[Entry] = []
        for number, (key, data) in enumerate(zip(keys, contents, strict=True), 1):
            entry = _parse(data, f"{self.store.url}/{key}")
            if _number(key) != number:
                raise self._damaged(number, "an entry is gone: the next one is there")
            if entry.seq != number:
                raise self._damaged(number, f"the entry calls itself number {entry.seq}")
            if entry.previous != (found[-1].sha256 if found else ""):
                raise self._damaged(max(1, number - 1), "the entry is not the one that the next was written after")
            found.append(entry)
        return found

    def append(self, body: dict[str, Any], *, base: int) -> Entry:
        """Write the record after number `base` (0: none yet). Raises Moved where another writer has.

        An answer that got lost is asked for again: a record that bears our name is ours.
        """
        number, writer = base + 1, uuid.uuid4().hex
        previous = sha256(self.store.get_bytes(self._key(base))).hexdigest() if base else ""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = dict(zip(KEYS, (FORMAT, number, previous, writer, at, body), strict=True))
        data = json.dumps(record, indent=1).encode()
        try:
            written = self.store.put_bytes(self._key(number), data, create_only=True)
        except InfraError:
            try:
                written = self.store.get_bytes(self._key(number)) == data
            except ObjectMissing:
                written = False
            if not written:
                raise
        if not written:
            raise Moved(
                "another process has written this entry first",
                where=f"{self.store.url}/{self._key(number)}",
                do="run the same command again: it goes by what was written",
            )
        return _parse(data, self._key(number))

    def _key(self, number: int) -> str:
        return f"{self.prefix}/{number:010d}.json"

    def _damaged(self, number: int, says: str) -> Damaged:
        return Damaged(
            f"the record was changed by hand: {says}",
            where=f"{self.store.url}/{self._key(number)}",
            do="put the object back as it was, from a copy of the store or an earlier version of the object",
        )


def _number(key: str) -> int:
    """The number in a key of an entry; 0 for other keys."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if len(name) == 10 and name.isdecimal() else 0


def _parse(data: bytes, where: str) -> Entry:
    try:
        record = json.loads(data)
        version = record["format"]
        if version > FORMAT:
            raise InfraError(
                f"this record was written by a newer version of dpo-pipeline (format {version}, known is {FORMAT})",
                where=where,
                do="install that version: going by half of what it means would be worse than not going on",
            )
        fields: Sequence[Any] = [record[key] for key in KEYS[1:]]
        return Entry(*fields, sha256=sha256(data).hexdigest())
    except (ValueError, KeyError, TypeError):
        do = "put the object back as it was, from a copy of the store or an earlier version of the object"
        raise Damaged("this is no record of the ledger", where=where, do=do) from None

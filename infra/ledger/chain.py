"""A hash chain of create-only objects (temporary: the one of the ledger takes its place)."""

import json
import time
import uuid
from dataclasses import dataclass
from hashlib import sha256

from infra.errors import Damaged, InfraError
from infra.store.base import Store


class Moved(InfraError):
    """Another writer appended first."""


@dataclass(frozen=True)
class Entry:
    """One record; `previous` is the SHA-256 of the object before it, `at` its time in UTC."""

    seq: int
    previous: str
    writer: str
    at: str
    body: dict[str, object]
    sha256: str


class Chain:
    """The records at one prefix of a store."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.store, self.prefix = store, prefix

    def entries(self) -> list[Entry]:
        """All of them, in order, checked."""
        found: list[Entry] = []
        for key in self.store.list(f"{self.prefix}/0"):
            data = self.store.get_bytes(key)
            body = json.loads(data)
            previous = found[-1].sha256 if found else ""
            if body["seq"] != len(found) + 1 or body["previous"] != previous:
                raise Damaged("the record is not whole", where=f"{self.store.url}/{key}", do="put it back from a copy")
            found.append(
                Entry(
                    **{k: body[k] for k in ("seq", "previous", "writer", "at", "body")}, sha256=sha256(data).hexdigest()
                )
            )
        return found

    def append(self, body: dict[str, object], *, base: int) -> Entry:
        """The next record, after number `base`. Raises Moved where another was first."""
        entries = self.entries()
        previous = entries[-1].sha256 if entries else ""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = {
            "format": 1,
            "seq": base + 1,
            "previous": previous,
            "writer": uuid.uuid4().hex,
            "at": at,
            "body": body,
        }
        data = json.dumps(record).encode()
        key = f"{self.prefix}/{base + 1:010d}.json"
        if len(entries) != base or not self.store.put_bytes(key, data, create_only=True):
            raise Moved("another run wrote first", where=f"{self.store.url}/{key}", do="run the same command again")
        return Entry(base + 1, previous, str(record["writer"]), at, body, sha256(data).hexdigest())

"""Waiting, for a bounded time, for what does not answer just now: a store, MLflow."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from infra.errors import Unavailable
from infra.store.base import Digests, Store, StoredObject

log = logging.getLogger("dpo.outage")
FIRST_S, LONGEST_S = 1.0, 15.0  # between two tries
Result = TypeVar("Result")


def retry_unavailable(call: Callable[[], Result], patience_s: float, whom: str) -> Result:
    """What `call` gives, tried again while it raises Unavailable, with jitter, for `patience_s` seconds."""
    start, pause = time.monotonic(), FIRST_S
    while True:
        try:
            result = call()
        except Unavailable as error:
            left = start + patience_s - time.monotonic()
            if left <= 0:
                raise
            if pause == FIRST_S:
                action = f"tried again for {patience_s:.0f} s"
                log.warning("away whom=%r reason=%r action=%r", whom, error.says, action)
            time.sleep(min(left, random.uniform(pause / 2, pause)))
            pause = min(2 * pause, LONGEST_S)
        else:
            if pause != FIRST_S:
                log.warning("back whom=%r after_s=%.0f", whom, time.monotonic() - start)
            return result


class PatientStore(Store):
    """A store whose absences of up to `patience_s` seconds only cost time."""

    def __init__(self, store: Store, patience_s: float) -> None:
        self._store, self._patience_s = store, patience_s
        self.url = store.url

    def exists(self, key: str) -> bool:
        """See Store."""
        return self._wait(lambda: self._store.exists(key))

    def put_bytes(self, key: str, data: bytes, *, create_only: bool = False) -> bool:
        """See Store. A create-only write is tried once: a second try might lose against the first."""
        if create_only:
            return self._store.put_bytes(key, data, create_only=True)
        return self._wait(lambda: self._store.put_bytes(key, data))

    def get_bytes(self, key: str) -> bytes:
        """See Store."""
        return self._wait(lambda: self._store.get_bytes(key))

    def put_file(self, key: str, path: Path) -> str:
        """See Store."""
        return self._wait(lambda: self._store.put_file(key, path))

    def get_file(self, key: str, path: Path) -> None:
        """See Store."""
        self._wait(lambda: self._store.get_file(key, path))

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """See Store."""
        return iter(self._wait(lambda: list(self._store.entries(prefix))))

    def digests(self, key: str) -> Digests:
        """See Store."""
        return self._wait(lambda: self._store.digests(key))

    def delete(self, key: str) -> None:
        """See Store."""
        self._wait(lambda: self._store.delete(key))

    def unfinished(self) -> Iterator[StoredObject]:
        """See Store."""
        return self._store.unfinished()

    def drop_unfinished(self, entry: StoredObject) -> None:
        """See Store."""
        self._store.drop_unfinished(entry)

    def keeps_deleted(self) -> bool:
        """See Store."""
        return self._store.keeps_deleted()

    def _wait(self, call: Callable[[], Result]) -> Result:
        return retry_unavailable(call, self._patience_s, f"store {self.url}")

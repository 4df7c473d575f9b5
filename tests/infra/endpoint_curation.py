"""A process that asks an endpoint, and kills itself (SIGKILL) at a named write to the store, as a power cut would."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from infra.endpoint.chat import ChatRequest
from infra.endpoint.client import Endpoint
from infra.endpoint.spending import Budget
from infra.store.folder import FolderStore
from tests.endpoint_server import MODEL
from tests.pools import FORKED


class Fatal(NamedTuple):
    """Where it ends: `before` or after the Nth write of a kind (intent, place, reply, settled)."""

    kind: str = "none"
    before: bool = False
    nth: int = 5


class FatalStore(FolderStore):
    def __init__(self, root: Path, fatal: Fatal) -> None:
        super().__init__(root)
        self._fatal, self._seen = fatal, 0

    def put_bytes(self, key: str, data: bytes, *, create_only: bool = False) -> bool:
        self._seen += kind_of(key) == self._fatal.kind
        dies = kind_of(key) == self._fatal.kind and self._seen == self._fatal.nth
        if dies and self._fatal.before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = super().put_bytes(key, data, create_only=create_only)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def kind_of(key: str) -> str:
    name = key.rpartition("/")[2]
    if key.startswith("endpoint/spent/"):
        return "settled" if "." in name else "place"
    return name.partition("-")[0]


def endpoint_of(url: str, store: FolderStore, calls: int, at_once: int = 4) -> Endpoint:
    return Endpoint(url, MODEL, store, budget=Budget(calls, 10**9), scope="kills", at_once=at_once, timeout_s=5.0)


def requests_of(prompts: int) -> list[ChatRequest]:
    return [ChatRequest([{"role": "user", "content": f"prompt {n}"}], samples=2) for n in range(prompts)]


def curate(pipe: Connection, url: str, root: Path, prompts: int, at_once: int, fatal: Fatal) -> None:
    for number, _ in endpoint_of(url, FatalStore(root, fatal), prompts, at_once).replies(requests_of(prompts)):
        pipe.send(number)


class Curation:
    """A running process; `answered` waits for the number of the next request that has its answers."""

    def __init__(self, url: str, root: Path, prompts: int, *, at_once: int = 4, fatal: Fatal | None = None) -> None:
        self._pipe, theirs = FORKED.Pipe(duplex=False)
        arguments = (theirs, url, root, prompts, at_once, fatal or Fatal())
        self.process = FORKED.Process(target=curate, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def answered(self) -> int:
        return self._pipe.recv()

    def ended(self) -> tuple[list[int], int | None]:
        """Requests answered that nobody waited for, in order of their numbers, and the exit code."""
        numbers = []
        try:
            while True:
                numbers.append(self.answered())
        except EOFError:
            self.process.join()
            return sorted(numbers), self.process.exitcode

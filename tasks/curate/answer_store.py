"""Answers in the object store: append-only shards under the digest of all that decides a text.

    answers/<digest of model, decoding and arithmetic>/<SHA-256>.jsonl

An answer depends on the model, the decoding (seed included), the prompt and its sample's number alone, so that it is
drawn once, whichever curation asked for it; a killed run loses at most the answers of one shard.
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from dpo_core.data.digests import digest_json
from dpo_core.records import Record
from infra.errors import ObjectMissing
from infra.store.base import Store
from tasks.runtime.by_content import put_by_content, sound_bytes

log = logging.getLogger("dpo.answers")
READERS = 8  # shards that are read at the same time
SHARD, SECONDS = 64, 30.0  # a shard is written after so many answers, or so long after the one before it
REFUSED = -1  # sample number of what is kept of a prompt that has no answers: why


class StoredAnswer(Record):
    """One answer as it is kept. `prompt`: digest of the conversation; `ended`: by a stop token.

    A prompt that cannot be answered has one of sample REFUSED, whose text is the reason.
    """

    prompt: str
    sample: int
    text: str
    tokens: int = 0
    ended: bool = True


class AnswerStore:
    """The answers of one model by one decoding. `refusals`: whether a prompt without answers stays without them."""

    def __init__(self, store: Store, path: Mapping[str, object], *, refusals: bool = True) -> None:
        self.store, self._refusals = store, refusals
        self.folder = f"answers/{digest_json(dict(path))}"

    def read(self) -> dict[tuple[str, int], StoredAnswer]:
        """Everything stored, by prompt and sample. A damaged shard is removed: its answers are drawn again, alike."""
        found: dict[tuple[str, int], StoredAnswer] = {}
        with ThreadPoolExecutor(READERS) as pool:
            for answers in pool.map(self._shard, list(self.store.list(f"{self.folder}/"))):
                found.update(((answer.prompt, answer.sample), answer) for answer in self._lasting(answers))
        return found

    def refresh(self) -> None:
        """Write one shard again: garbage collection leaves a folder that is as young as its youngest object."""
        with contextlib.suppress(ObjectMissing):  # removed since
            for key in islice(self.store.list(f"{self.folder}/"), 1):
                self.store.put_bytes(key, self.store.get_bytes(key))

    def keep(self, answers: Iterable[StoredAnswer]) -> Iterator[StoredAnswer]:
        """Hand on answers as they come, each once its shard is stored; what came is stored whatever ends this.

        Refusals that are not to stay are handed on alone.
        """
        waiting: list[StoredAnswer] = []
        since = time.monotonic()
        try:
            for answer in answers:
                waiting.append(answer)
                if len(waiting) >= SHARD or time.monotonic() - since > SECONDS:
                    self._append(waiting)
                    yield from waiting
                    waiting, since = [], time.monotonic()
        finally:
            if waiting:
                self._append(waiting)
        yield from waiting

    def _append(self, answers: Sequence[StoredAnswer]) -> None:
        lines = [f"{answer.model_dump_json()}\n" for answer in self._lasting(answers)]
        if lines:
            put_by_content(self.store, self.folder, "".join(lines).encode("utf-8", "surrogatepass"), ".jsonl")

    def _lasting(self, answers: Iterable[StoredAnswer]) -> Iterator[StoredAnswer]:
        return (answer for answer in answers if self._refusals or answer.sample != REFUSED)

    def _shard(self, key: str) -> list[StoredAnswer]:
        data, damaged = sound_bytes(self.store, key)
        if damaged:
            log.warning("answers_damaged key=%s action='removed: what it held is drawn again'", key)
        return [StoredAnswer(**json.loads(line)) for line in (data or b"").splitlines()]

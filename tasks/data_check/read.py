"""The first pass over the data: read, normalise, and spool to disk. Imported by worker processes: keep it light."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.chunks import Chunk
from dpo_core.data.pairs import Pair
from dpo_core.data.readers import Quarantined, Tally, read_chunk
from dpo_core.data.sources import chunks_of, digest_source
from dpo_core.data.splits import place_of
from dpo_core.data.spool import Spool, SpoolWriter, lines_of
from dpo_core.quality.prompts.groups import PromptGroups, Sketches, group_prompts, sketches
from dpo_core.quality.prompts.identity import digest, prompt_key
from dpo_core.quality.text.redaction import redact
from tasks.runtime.workers import in_order


@dataclass(frozen=True)
class Source:
    """What was seen of one source."""

    name: str
    tally: Tally
    sha256: str


@dataclass(frozen=True)
class Normalised:
    """Every good row of all sources, in order. Arrays have one entry a row.

    `origins`: which source; `places`: of the split, in [0, 1); `prompts`: digests; `groups`: of nearly equal prompts;
    `ids`: (N, 32), the pairs' ids.
    """

    spool: Spool
    origins: NDArray[np.int64]
    places: NDArray[np.float64]
    prompts: NDArray[np.int64]
    groups: PromptGroups
    ids: NDArray[np.uint8]
    sources: list[Source]


@dataclass(frozen=True)
class NormalChunk:
    """The rows of one chunk, as they are spooled, with what the split and the sample need."""

    lines: bytes
    lengths: NDArray[np.int64]
    places: NDArray[np.float64]
    prompts: NDArray[np.int64]
    sketches: Sketches
    ids: bytes
    quarantined: list[Quarantined]
    tally: Tally


class Quarantine:
    """Rows that are set aside: written as they come, keys and addresses masked; counted by reason."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.reasons = path, 0, Counter[str]()
        path.write_bytes(b"")

    def add(self, rows: Sequence[Quarantined]) -> None:
        """Set rows aside."""
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            for row in rows:
                entry = {"where": row.where, "line": row.line, "reason": row.reason, "row": redact(row.row)}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.rows += len(rows)
        self.reasons.update(row.reason.partition(":")[0] for row in rows)


def normalise_sources(names: Sequence[str], folder: Path, quarantine: Quarantine, *, workers: int) -> Normalised:
    """Spool every good row of the sources to `folder`. Raises InputError for one that cannot be used."""
    sources, chunks, origins = [], [], []
    with SpoolWriter(folder / "rows.jsonl") as writer:
        for number, name in enumerate(names):
            tally = Tally()
            for chunk in _normal_chunks(name, workers):
                writer.append(chunk.lines, chunk.lengths)
                quarantine.add(chunk.quarantined)
                tally.add(chunk.tally)
                ids = np.frombuffer(chunk.ids, dtype=np.uint8)
                chunks.append((chunk.places, chunk.prompts, chunk.sketches, ids))
                origins.append(np.full(len(chunk.lengths), number))
            tally.require_pairs(name)
            sources.append(Source(name, tally, digest_source(name)))
        spool = writer.spool()
    places, prompts, sketched, ids = (np.concatenate(column) for column in zip(*chunks, strict=True))
    groups = group_prompts(prompts, sketched)
    return Normalised(spool, np.concatenate(origins), places, prompts, groups, ids.reshape(-1, 32), sources)


def _normal_chunks(name: str, workers: int) -> Iterator[NormalChunk]:
    """The first good chunk tells whether all rows must be text, or messages."""
    chunks = chunks_of(name)
    for chunk in chunks:
        first = normalise_chunk(None, chunk)
        yield first
        if first.tally.first_good is not None:
            yield from in_order(partial(normalise_chunk, first.tally.first_good), chunks, workers=workers)


def normalise_chunk(first: Pair | None, chunk: Chunk) -> NormalChunk:
    """Parse and check the rows of a chunk."""
    rows, tally = read_chunk(chunk, first)
    pairs = [row for row in rows if isinstance(row, Pair)]
    prompts = [prompt_key(pair.prompt) for pair in pairs]
    return NormalChunk(
        *lines_of(pairs),
        places=np.array([place_of(prompt) for prompt in prompts], dtype=np.float64),
        prompts=np.array([digest(prompt) for prompt in prompts], dtype=np.int64),
        sketches=sketches([pair.prompt for pair in pairs]),
        ids=bytes.fromhex("".join(pair.id for pair in pairs)),
        quarantined=[row for row in rows if isinstance(row, Quarantined)],
        tally=tally,
    )

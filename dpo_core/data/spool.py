"""Normalised rows on disk: written once, in order; read back in parts, or a few by their index."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.chunks import ROWS
from dpo_core.data.pairs import EncodedPair, Pair


@dataclass(frozen=True)
class Part:
    """Some rows next to each other: `first` is the first one's index, `start` and `stop` are bytes of the file."""

    path: str
    first: int
    rows: int
    start: int
    stop: int

    def lines(self) -> list[bytes]:
        """Read them, as they are written."""
        with Path(self.path).open("rb") as file:
            file.seek(self.start)
            return file.read(self.stop - self.start).splitlines()

    def pairs(self) -> list[Pair]:
        """Read them."""
        return [Pair.from_row(json.loads(line)) for line in self.lines()]


@dataclass(frozen=True)
class Spool:
    """N rows in a file. `offsets`: (N + 1,), where each begins, in bytes."""

    path: Path
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def parts(self, rows: int = ROWS) -> Iterator[Part]:
        """All rows, `rows` at a time."""
        for first in range(0, len(self), rows):
            stop = min(first + rows, len(self))
            yield Part(str(self.path), first, stop - first, int(self.offsets[first]), int(self.offsets[stop]))

    def pairs(self, rows: Sequence[int]) -> list[Pair]:
        """The pairs of these indices, in the order asked for."""
        found: dict[int, Pair] = {}
        with self.path.open("rb") as file:
            for row in sorted(set(rows)):
                file.seek(self.offsets[row])
                found[row] = Pair.from_row(json.loads(file.read(int(self.offsets[row + 1] - self.offsets[row]))))
        return [found[row] for row in rows]

    def copy(self, rows: NDArray[np.int64], path: Path) -> None:
        """Write the lines of these (sorted) indices to another file."""
        with self.path.open("rb") as file, path.open("wb") as out:
            runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
            for run in runs:  # rows next to each other at once, a few MiB at a time
                for part in np.array_split(run, len(run) // ROWS + 1):
                    if len(part):
                        file.seek(self.offsets[part[0]])
                        out.write(file.read(int(self.offsets[part[-1] + 1] - self.offsets[part[0]])))


class SpoolWriter:
    """Appends lines to a spool's file; `spool` closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("wb")
        self.lengths: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]

    def append(self, lines: bytes, lengths: NDArray[np.int64]) -> None:
        """Add rows: their lines, and the length of each in bytes, line end included."""
        self.file.write(lines)
        self.lengths.append(lengths)

    def spool(self) -> Spool:
        """What was written."""
        self.file.close()
        return Spool(self.path, np.cumsum(np.concatenate(self.lengths)))

    def __enter__(self) -> "SpoolWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def lines_of(pairs: Sequence[Pair]) -> tuple[bytes, NDArray[np.int64]]:
    """Rows as they are written, and the length of each in bytes."""
    lines = [json.dumps(pair.to_row()).encode() + b"\n" for pair in pairs]
    return b"".join(lines), np.array([len(line) for line in lines], dtype=np.int64)


def id_lines_of(rows: Sequence[EncodedPair | None]) -> tuple[bytes, NDArray[np.int64]]:
    """Token ids as they are written, [prompt, chosen, rejected] a line, an empty one for None; the lengths in bytes."""
    lines = [
        b"\n"
        if row is None
        else json.dumps([row.prompt_ids, row.chosen_ids, row.rejected_ids], separators=(",", ":")).encode() + b"\n"
        for row in rows
    ]
    return b"".join(lines), np.array([len(line) for line in lines], dtype=np.int64)


def with_ids(pairs: Sequence[Pair], lines: Sequence[bytes]) -> list[EncodedPair]:
    """Pairs with the token ids that `id_lines_of` wrote of them."""
    return [EncodedPair(pair, *map(tuple, json.loads(line))) for pair, line in zip(pairs, lines, strict=True)]

"""Prompts laid out by the hashes of their words, so that a million others can be compared with them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.words import Bools, Hashes, Ints

LARGEST_FILTER = 1 << 26
NOBODY = -1  # no prompt of an index
Places = NDArray[np.int32]
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Postings:
    """Hashes, ascending, each with its text and its place there. `maybe` answers most no's at once."""

    hashes: Hashes
    whose: Places
    place: Places
    maybe: Bools

    @classmethod
    def of(cls, hashes: Hashes, whose: Ints, place: Ints | None = None) -> "Postings":
        """Sort them; equal hashes stay in order."""
        order = np.argsort(hashes, kind="stable")
        size = min(LARGEST_FILTER, 1 << max(10, (8 * len(hashes)).bit_length()))
        maybe = np.zeros(size, dtype=np.bool_)
        maybe[hashes & np.uint64(size - 1)] = True
        places = np.zeros(0, dtype=np.int32) if place is None else place[order].astype(np.int32)
        return cls(hashes[order], whose[order].astype(np.int32), places, maybe)

    def __len__(self) -> int:
        return len(self.hashes)

    def meet(self, wanted: Hashes) -> tuple[Ints, Ints]:
        """Every meeting: index into `wanted`, ascending, and index into the postings."""
        asked = np.flatnonzero(self.maybe[wanted & np.uint64(len(self.maybe) - 1)]) if len(self) else _NONE
        start = np.searchsorted(self.hashes, wanted[asked])
        there = self.hashes[np.minimum(start, len(self) - 1)] == wanted[asked]
        asked, start = asked[there], start[there]
        counts = np.searchsorted(self.hashes, wanted[asked], side="right") - start
        inner = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(asked, counts), np.repeat(start, counts) + inner


@dataclass(frozen=True)
class PromptIndex:
    """N different prompts of one collection."""

    name: str
    turns: bool  # each is a single question, and equal to any turn of a user that asks the same
    rows: Ints  # how many rows of the collection have this prompt
    words: Ints
    sizes: Ints  # different shingles, boilerplate aside
    equal: Postings
    shingles: Postings
    ngrams: Postings
    boilerplate: Postings

    def __len__(self) -> int:
        return len(self.rows)


def distinct(hashes: Hashes, owners: Ints) -> tuple[Hashes, Ints]:
    """The different hashes of each owner, by owner. `owners` ascends."""
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    again = (np.diff(hashes) == 0) & (np.diff(owners) == 0)
    new = np.concatenate([[True], ~again])[: len(hashes)]
    return hashes[new], owners[new]


def has(postings: Postings, hashes: Hashes) -> Bools:
    """Which of `hashes` occur in the postings."""
    found = np.zeros(len(hashes), dtype=np.bool_)
    found[postings.meet(hashes)[0]] = True
    return found

"""Which of many texts share most of their shingles, without comparing all with all: MinHash (Broder 1997), two ways.

`signatures` for long texts: one permutation (Li et al. 2012, arXiv:1208.1259), so one pass over the shingles, empty
bins filled by rotation (Shrivastava & Li 2014, arXiv:1406.4784), compared by `bands` of five bins. What meets in a band
is a candidate, to be confirmed by its text.
`minima` for prompts, which are short: a permutation for each of 64 minima, of which 16 bits are kept (Li & König 2010,
arXiv:0910.3349); exact enough to do without the text.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.words import Bools, Hashes, Ints, TextArray, mix

SHINGLE = 5  # words
ALIKE = 0.8  # Jaccard index of shingles from which on two texts are nearly the same
BANDS, BAND = 16, 5
BINS = BANDS * BAND
EMPTY = np.uint32(0xFFFFFFFF)
MINIMA = 64
_ODD = np.random.default_rng(0).integers(0, 1 << 63, MINIMA, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
Signatures = NDArray[np.uint32]


def signatures(shingles: Hashes, owners: Ints, count: int, bins: int) -> Signatures:
    """MinHash of `count` sets: (count, bins). Two sets' share of equal bins estimates their Jaccard index."""
    found = np.full(count * bins, EMPTY, dtype=np.uint32)
    place = ((shingles >> np.uint64(32)) * np.uint64(bins)) >> np.uint64(32)
    np.minimum.at(found, owners * bins + place.astype(np.int64), shingles.astype(np.uint32))
    return _filled(found.reshape(count, bins))


def _filled(found: Signatures) -> Signatures:
    """Empty bins take the next filled one's value, changed by how far away that is."""
    bins = found.shape[1]
    twice = np.hstack([found, found])
    place = np.where(twice != EMPTY, np.arange(2 * bins, dtype=np.int32), np.int32(2 * bins))
    nearest = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1][:, :bins]
    nearest = np.minimum(nearest, 2 * bins - 1)
    distance = (nearest - np.arange(bins)).astype(np.uint32)
    values = np.take_along_axis(twice, nearest, axis=1)
    return np.where(values == EMPTY, EMPTY, values + distance * np.uint32(0x9E3779B1))


def bands(answers: Signatures, prompts: Signatures | None = None) -> Signatures:
    """Keys of 32 bits, (count, 16): of every sixteenth bin of the answers, and one bin of the prompt where given."""
    key = np.arange(1, BANDS + 1, dtype=np.uint64) * np.uint64(0x632BE59BD9B4E019) + np.zeros_like(answers[:, :1])
    known = answers[:, 0] != EMPTY
    if prompts is not None:
        key = key + prompts
        known &= prompts[:, 0] != EMPTY
    for part in range(BAND):
        key = mix(key + answers[:, part * BANDS : (part + 1) * BANDS])
    return np.where(known[:, None], (key >> np.uint64(32)).astype(np.uint32) | np.uint32(1), np.uint32(0))


def minima(shingles: Hashes, owners: Ints, count: int) -> NDArray[np.uint16]:
    """16 bits of the 64 least hashes of `count` sets, a permutation each: (count, 64); zeros where a set is empty.

    `owners` ascends. Two sets' share of equal ones estimates their Jaccard index.
    """
    found = np.zeros((count, MINIMA), dtype=np.uint16)
    filled, starts = np.unique(owners, return_index=True)
    if len(filled):
        least = np.stack([np.minimum.reduceat(shingles * odd, starts) for odd in _ODD], axis=1)
        found[filled] = mix(least) >> np.uint64(48)
    return found


def links(keys: Signatures, fresh: Bools, most: int = 2) -> tuple[Ints, Ints]:
    """(later row, earlier row): rows that meet in a band; at most `most` a row, those of most bands first."""
    rows = np.flatnonzero(fresh & (keys[:, 0] != 0)) if len(keys) else np.zeros(0, dtype=np.int64)
    found = np.zeros(0, dtype=np.uint64)
    shared = np.zeros(0, dtype=np.int64)
    for band in range(keys.shape[1] if len(rows) else 0):
        place, *ends = meetings(keys[rows, band])
        pairs = np.unique(np.concatenate([(rows[place] << 32) | rows[end] for end in ends]))
        found, index = np.unique(np.concatenate([found, pairs.astype(np.uint64)]), return_inverse=True)
        shared = np.bincount(index, weights=np.concatenate([shared, np.ones(len(pairs))]), minlength=len(found)).astype(
            np.int64
        )
    later, earlier = (found >> np.uint64(32)).astype(np.int64), (found & np.uint64(0xFFFFFFFF)).astype(np.int64)
    order = np.lexsort((earlier, -shared, later))
    later, earlier = later[order], earlier[order]
    starts = np.searchsorted(later, later, side="left")
    best = np.arange(len(later)) - starts < most
    return later[best], earlier[best]


def meetings(key: NDArray[np.unsignedinteger]) -> tuple[Ints, Ints, Ints]:
    """Where a key has occurred before: there, where it last did, and where it first did. Grows linearly."""
    order = np.argsort(key, kind="stable")
    new = np.concatenate([[True], key[order][1:] != key[order][:-1]])[: len(key)]
    first = np.maximum.accumulate(np.where(new, np.arange(len(key)), 0))
    inner = np.flatnonzero(~new)
    return order[inner], order[inner - 1], order[first[inner]]


def shingle_sets(texts: list[str]) -> list[Hashes]:
    """Each text's shingles, sorted, each once."""
    return sets_of(*TextArray.of(texts).words.shingles(SHINGLE), len(texts))


def sets_of(hashes: Hashes, owners: Ints, count: int) -> list[Hashes]:
    """Each owner's hashes, sorted, each once. `owners` ascends."""
    bounds = np.searchsorted(owners, np.arange(count + 1))
    return [np.unique(hashes[start:end]) for start, end in pairwise(bounds.tolist())]


def jaccard(one: Hashes, other: Hashes) -> float:
    """Size of the intersection over that of the union, of two sorted sets; 0 if both are empty."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / max(len(one) + len(other) - common, 1)

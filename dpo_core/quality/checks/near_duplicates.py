"""Rows that say nearly the same as another row: MinHash to find candidates, Jaccard to confirm them.

One-permutation MinHash (Li et al. 2012, arXiv:1208.1259) over shingles of five words (characters in Chinese, Japanese
and Thai), empty bins filled by rotation (Shrivastava & Li 2014, arXiv:1406.4784), in 16 bands of five bins. A band also
holds one bin of the prompt: two rows meet only if prompts and answers are both alike. Rows with Jaccard index J of the
answers, and of the prompts, meet with probability 1 - (1 - J^6)^16: .99 at J = .8, .53 at .6, .06 at .4.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.words import Bools, Chunk, Hashes, Ints, Texts, mix

SHINGLE = 5  # words
BANDS, BAND = 16, 5
BINS = BANDS * BAND
EMPTY = np.uint32(0xFFFFFFFF)
ALIKE = 0.8  # Jaccard index of shingles from which on two texts are nearly the same
CHECKED = 4000  # candidate rows whose texts are read back and compared; of more, a random sample
BATCH = 250
Signatures = NDArray[np.uint32]


@dataclass(frozen=True)
class NearDuplicates:
    """Rows confirmed by their texts. `share` is an estimate where only `checked` of `candidates` rows were compared."""

    same: Ints  # rows that nearly repeat an earlier row
    flipped: Ints  # rows whose answers nearly occur the other way round in an earlier row
    same_share: float
    flipped_share: float
    candidates: int
    checked: int


def columns(chunk: Chunk) -> dict[str, NDArray[np.generic]]:
    """`near_bands` (uint32, 16 a pair): equal in a band = candidates; 0 where an answer or prompt has no word."""
    shingles, owners = chunk.texts.words.shingles(SHINGLE)
    pairs, side = owners // 3, owners % 3
    answers = signatures(shingles[side > 0], pairs[side > 0], len(chunk), BINS)
    prompts = signatures(shingles[side == 0], pairs[side == 0], len(chunk), BANDS)
    return {"near_bands": bands(answers, prompts)}


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


def find_near_duplicates(table: PairTable, fresh: Bools, contradicted: Bools, *, seed: int = 0) -> NearDuplicates:
    """Near duplicates among the rows where `fresh` (no exact repeats); flipped ones unless `contradicted` exactly."""
    later, earlier = links(table["near_bands"], fresh)
    candidates = np.unique(later)
    checked = candidates
    if len(candidates) > CHECKED:
        checked = np.sort(np.random.default_rng(seed).choice(candidates, CHECKED, replace=False))
    looked_at = np.isin(later, checked)
    later, earlier = later[looked_at], earlier[looked_at]
    alike = _compare(table, later, earlier)
    same = np.unique(later[alike == 1])
    flipped = np.setdiff1d(later[alike == -1], same)
    flipped = flipped[~contradicted[flipped]]
    scale = len(candidates) / max(len(checked), 1) / max(len(table), 1)
    return NearDuplicates(same, flipped, len(same) * scale, len(flipped) * scale, len(candidates), len(checked))


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


def _compare(table: PairTable, later: Ints, earlier: Ints) -> Ints:
    """Per link: 1 if both sides are alike, -1 if they are the other way round, 0 if neither."""
    verdicts = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(later), BATCH):
        part = slice(start, start + BATCH)
        texts = [_texts(pair) for rows in (later[part], earlier[part]) for pair in table.rows(rows.tolist())]
        sets = shingle_sets([text for pair in texts for text in pair])
        size = len(later[part])
        ones, others = ([sets[3 * i : 3 * i + 3] for i in where] for where in (range(size), range(size, 2 * size)))
        verdicts.append(np.array([_alike(one, other) for one, other in zip(ones, others, strict=True)]))
    return np.concatenate(verdicts).astype(np.int64)


def _texts(pair: Pair) -> tuple[str, str, str]:
    return text_of(pair.prompt), text_of(pair.chosen), text_of(pair.rejected)


def shingle_sets(texts: list[str]) -> list[Hashes]:
    """Each text's shingles, sorted, each once."""
    return sets_of(*Texts.of(texts).words.shingles(SHINGLE), len(texts))


def sets_of(hashes: Hashes, owners: Ints, count: int) -> list[Hashes]:
    """Each owner's hashes, sorted, each once. `owners` ascends."""
    bounds = np.searchsorted(owners, np.arange(count + 1))
    return [np.unique(hashes[start:end]) for start, end in pairwise(bounds.tolist())]


def jaccard(one: Hashes, other: Hashes) -> float:
    """Size of the intersection over that of the union, of two sorted sets; 0 if both are empty."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / max(len(one) + len(other) - common, 1)


def _alike(one: list[Hashes], other: list[Hashes]) -> int:
    if jaccard(one[0], other[0]) < ALIKE:
        return 0
    straight = min(jaccard(one[1], other[1]), jaccard(one[2], other[2]))
    crossed = min(jaccard(one[1], other[2]), jaccard(one[2], other[1]))
    if max(straight, crossed) < ALIKE:
        return 0
    return 1 if straight >= crossed else -1

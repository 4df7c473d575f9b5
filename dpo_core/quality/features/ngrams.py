"""Words, tokens and pairs of neighbours that stand on one side of a pair only.

A feature is named by a 59-bit key, so that millions need no texts: its kind in the top three bits, below it two token
ids, or a digest of the words. `spell` reads a key's text back from a row in which it stands.
"""

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.data.pairs import EncodedPair, Message, Pair, text_of
from dpo_core.quality.table import PairTable
from dpo_core.quality.words import SINGLE, words

Keys = NDArray[np.int64]
TokenText = Callable[[int], str]  # the text of one token id
TOKEN, TOKENS, WORD, WORDS = (kind << 56 for kind in range(1, 5))
_REST = (1 << 56) - 1
KIND = ~_REST  # the bits of a key that say what it is
_START, _END = (1 << 28) - 1, (1 << 28) - 2  # beyond every token id: before the first token, after the last
_WORD_START, _WORD_END = 0x5B6F_1D, 0x2C91_77  # the same for words
RARE = 0.0005  # share of a chunk's pairs below which a feature of that chunk is dropped
LEAST = 10  # discordant pairs below which a feature is not tested
LEAST_SHARE = 0.002


class Feature(NamedTuple):
    """What a key stands for.

    `kind`: token, token_pair, first_token, word, word_pair, first_word, last_word, property or amount.
    """

    kind: str
    text: str

    @property
    def name(self) -> str:
        """As people read it."""
        if self.kind in ("property", "amount"):
            return self.text
        part = " (part of a character)" if "\ufffd" in self.text else ""
        return f"{self.kind.replace('_', ' ')} {self.text!r}{part}"


@dataclass(frozen=True)
class Grams:
    """The features that differ between the sides in a chunk of N pairs.

    `keys`: sorted, each once. `columns` (into keys) and `signs` (1: only chosen, -1: only rejected) hold the entries
    of pair after pair; `counts`: (N,), how many are each pair's.
    """

    keys: Keys
    columns: NDArray[np.int32]
    signs: NDArray[np.int8]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class GramTable:
    """`d`: (rows, keys) int8, 1 where only the chosen side has the feature, -1 where only the rejected side has.

    `rows`: which pairs of the PairTable these are, in order.
    """

    rows: NDArray[np.int64]
    keys: Keys
    d: sparse.csr_array


def grams(pairs: Sequence[EncodedPair]) -> Grams:
    """Features of a chunk: tokens (where encoded), words, pairs of neighbours, with marks for start and end.

    Pure and picklable. In large chunks a feature in under 0.05 % of the pairs is left out: it cannot matter, unless
    other chunks hold more of it, where it is kept.
    """
    numbers: dict[str, int] = {}
    entries, lengths = array("q"), array("q")
    for pair in pairs:
        chosen = _keys(pair.pair.chosen, pair.chosen_ids, numbers)
        rejected = _keys(pair.pair.rejected, pair.rejected_ids, numbers)
        for only in (chosen - rejected, rejected - chosen):
            entries.extend(only)
            lengths.append(len(only))
    keys, columns, counts = np.unique(np.array(entries, dtype=np.int64), return_inverse=True, return_counts=True)
    signs = np.repeat(np.tile(np.array([1, -1], dtype=np.int8), len(pairs)), lengths)
    owners = np.repeat(np.arange(len(pairs)), np.asarray(lengths).reshape(-1, 2).sum(axis=1))
    often = counts >= RARE * len(pairs)
    kept = often[columns]
    numbering = np.cumsum(often, dtype=np.int32) - 1
    return Grams(
        keys[often],
        numbering[columns[kept]].astype(np.int32),
        signs[kept],
        np.bincount(owners[kept], minlength=len(pairs)).astype(np.int64),
    )


def merge(chunks: Sequence[Grams], rows: NDArray[np.int64]) -> GramTable:
    """One table of the chunks, which hold the pairs `rows` in order; features in too few pairs to test are left out."""
    total = sum(len(chunk.counts) for chunk in chunks)
    if total != len(rows):
        raise ValueError(f"chunks of {total} pairs for {len(rows)} rows")
    keys = np.unique(np.concatenate([np.empty(0, np.int64), *(chunk.keys for chunk in chunks)]))
    counts = np.zeros(len(keys), dtype=np.int64)
    for chunk in chunks:
        counts[np.searchsorted(keys, chunk.keys)] += np.bincount(chunk.columns, minlength=len(chunk.keys))
    kept = keys[counts >= max(LEAST, LEAST_SHARE * total)]
    parts = [_columns(chunk, kept) for chunk in chunks]
    d = sparse.vstack([sparse.csr_array((0, len(kept)), dtype=np.int8), *parts], format="csr")
    return GramTable(rows, kept, sparse.csr_array(d))


def spell(
    table: PairTable, grams: GramTable, columns: Sequence[int], token_text: TokenText | None
) -> dict[int, Feature]:
    """The features that `columns` of `grams` stand for; words are read from one row each."""
    by_column = sparse.csc_array(grams.d)
    features, unread = {}, {}
    for column in columns:
        key = int(grams.keys[column])
        kind = key & KIND
        if kind in (TOKEN, TOKENS):
            features[column] = _token_feature(key, token_text or str)
        else:
            entry = by_column.indptr[column]
            unread[column] = (int(grams.rows[by_column.indices[entry]]), int(by_column.data[entry]))
    pairs = dict(zip(unread, table.rows([row for row, _ in unread.values()]), strict=True)) if unread else {}
    for column, (_, sign) in unread.items():
        features[column] = _word_feature(int(grams.keys[column]), pairs[column], sign)
    return features


def stands(feature: Feature, text: str) -> bool:
    """Whether a text has a word, a pair of words, or one at its start or end."""
    kind, wanted = feature
    if kind == "word" and wanted not in text.casefold():
        return False
    spelt, sought = words(text), words(wanted)
    if kind in ("first_word", "last_word"):
        return spelt[:1] == sought if kind == "first_word" else spelt[-1:] == sought
    return any(spelt[at : at + len(sought)] == sought for at in range(len(spelt) - len(sought) + 1))


def word_key(feature: Feature) -> int:
    """The key of a word, a first word, a last word or a pair of words (with a space between them)."""
    first, *rest = map(_number, feature.text.split(" "))
    if feature.kind == "word":
        return WORD | first
    pair = {"first_word": [_WORD_START, first], "last_word": [first, _WORD_END]}.get(feature.kind, [first, *rest])
    return int(_pair_keys(np.array(pair, dtype=np.int64))[0])


def token_ids(key: int) -> tuple[int, ...]:
    """The token ids that a key is made of; empty for words."""
    kind, left, right = key & KIND, (key & _REST) >> 28, key & ((1 << 28) - 1)
    if kind not in (TOKEN, TOKENS):
        return ()
    return (right,) if kind == TOKEN or left == _START else (left, right)


def _columns(chunk: Grams, kept: Keys) -> sparse.csr_array:
    """The chunk's entries of the kept keys."""
    place = np.searchsorted(kept, chunk.keys)
    there = (
        np.append(kept, -1)[np.minimum(place, len(kept))] == chunk.keys if len(kept) else np.zeros(len(place), np.bool_)
    )
    entry_there = there[chunk.columns]
    owners = np.repeat(np.arange(len(chunk.counts)), chunk.counts)[entry_there]
    ends = np.cumsum(np.bincount(owners, minlength=len(chunk.counts)))
    indices = place[chunk.columns[entry_there]].astype(np.int32)
    return sparse.csr_array(
        (chunk.signs[entry_there], indices, np.concatenate([[0], ends]).astype(np.int64)),
        shape=(len(chunk.counts), len(kept)),
    )


def _keys(messages: Sequence[Message], ids: Sequence[int], numbers: dict[str, int]) -> set[int]:
    """All features of one answer. `numbers` remembers the digests of words."""
    found = _word_keys(words(text_of(messages)), numbers)
    if ids:
        tokens = np.array([_START, *ids], dtype=np.int64)
        found.update((TOKEN | tokens[1:]).tolist())
        found.update((TOKENS | tokens[:-1] << 28 | tokens[1:]).tolist())
    return found


def _word_keys(spelt: Sequence[str], numbers: dict[str, int]) -> set[int]:
    for word in spelt:
        if word not in numbers:
            numbers[word] = _number(word)
    if not spelt:
        return set()
    found = np.array([_WORD_START, *map(numbers.__getitem__, spelt), _WORD_END], dtype=np.int64)
    return {*(WORD | found[1:-1]).tolist(), *_pair_keys(found).tolist()}


def _pair_keys(numbers: Keys) -> Keys:
    """Keys of neighbours: the order of two words counts."""
    left, right = numbers[:-1].astype(np.uint64), numbers[1:].astype(np.uint64)
    mixed = (left * np.uint64(0x9E3779B97F4A7C15)) ^ (
        right * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(0x165667B19E3779F9)
    )
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(WORDS | (mixed >> np.uint64(8)).astype(np.int64), dtype=np.int64)


def _number(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def _token_feature(key: int, token_text: TokenText) -> Feature:
    if key & KIND == TOKEN:
        return Feature("token", token_text(key & _REST))
    left, right = (key & _REST) >> 28, key & ((1 << 28) - 1)
    if left == _START:
        return Feature("first_token", token_text(right))
    return Feature("token_pair", token_text(left) + token_text(right))


def _word_feature(key: int, pair: Pair, sign: int) -> Feature:
    """Look for the key among the words of the side that has it."""
    spelt = words(text_of(pair.chosen if sign > 0 else pair.rejected))
    numbers = np.array([_WORD_START, *map(_number, spelt), _WORD_END], dtype=np.int64)
    if key & KIND == WORD:
        at = int(np.flatnonzero(WORD | numbers[1:-1] == key)[0])
        return Feature("word", spelt[at])
    at = int(np.flatnonzero(_pair_keys(numbers) == key)[0])
    if at == 0:
        return Feature("first_word", spelt[0])
    if at == len(spelt):
        return Feature("last_word", spelt[-1])
    left, right = spelt[at - 1], spelt[at]
    if SINGLE.match(left) and SINGLE.match(right):
        return Feature("word", left + right)
    return Feature("word_pair", f"{left} {right}")

"""Prompts that must not be trained on, laid out so that a million others can be compared with them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Message, text_of
from dpo_core.quality.checks.near_duplicates import SHINGLE
from dpo_core.quality.prompts.comparisons import digests, normal
from dpo_core.quality.text.words import Bools, Hashes, Ints, Texts

NGRAM = 8  # words
COMMON, COMMON_SHARE, COMMON_MOST = 10, 0.01, 100  # a shingle in more prompts (of this share: at most) is boilerplate
LARGEST_FILTER = 1 << 26
BLOCK = 1000  # prompts laid out at once (memory)
NOBODY = -1
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


def index_prompts(name: str, prompts: Iterable[Sequence[Message]], *, turns: bool = False) -> PromptIndex:
    """Index a collection of prompts."""
    kept: dict[bytes, Sequence[Message]] = {}
    counts = Counter[bytes]()
    for messages in prompts:
        key = keys_of(messages, turns=turns)[-1]
        counts[key] += 1
        kept.setdefault(key, messages)
    sizes, (shingles, owners), (ngrams, whose, place) = _laid_out([asked(messages) for messages in kept.values()])
    common = np.union1d(_common(shingles, len(kept)), _common(distinct(ngrams, whose)[0], len(kept)))
    boilerplate = Postings.of(common, np.zeros(len(common), dtype=np.int64))
    own, rare = ~has(boilerplate, shingles), ~has(boilerplate, ngrams)
    return PromptIndex(
        name,
        turns,
        np.array(list(counts.values()), dtype=np.int64),
        sizes,
        np.bincount(owners[own], minlength=len(kept)),
        Postings.of(digests(counts), np.arange(len(kept))),
        Postings.of(shingles[own], owners[own]),
        Postings.of(ngrams[rare], whose[rare], place[rare]),
        boilerplate,
    )


def _laid_out(texts: Sequence[str]) -> tuple[Ints, tuple[Hashes, Ints], tuple[Hashes, Ints, Ints]]:
    """Words of each text; different shingles and whose; n-grams, whose, and their place."""
    blocks = []
    for start in range(0, max(len(texts), 1), BLOCK):
        words = Texts.of(texts[start : start + BLOCK]).words
        shingles, owners = distinct(*words.shingles(SHINGLE))
        ngrams, whose = words.shingles(NGRAM, short=False)
        place = np.arange(len(ngrams)) - np.searchsorted(whose, whose)
        blocks.append((np.diff(words.bounds), shingles, owners + start, ngrams, whose + start, place))
    sizes, shingles, owners, ngrams, whose, place = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return sizes, (shingles, owners), (ngrams, whose, place)


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


def _common(hashes: Hashes, count: int) -> Hashes:
    """Hashes that stand in so many of the `count` texts that they say nothing."""
    values, texts = np.unique(hashes, return_counts=True)
    return values[texts > min(max(COMMON, COMMON_SHARE * count), COMMON_MOST)]


def asked(messages: Iterable[Message]) -> str:
    """The words of a prompt without its system message, which whole data sets share."""
    return text_of(message for message in messages if message["role"] not in ("system", "developer"))


def keys_of(messages: Sequence[Message], *, turns: bool) -> list[bytes]:
    """What is compared for equality: the conversation, or each question in it."""
    if not turns:
        return [normal(messages, fold=True)]
    return [normal((message,), fold=True) for message in messages if message["role"] == "user"]

"""Prompts that must not be trained on, laid out so that a million others can be compared with them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.data.pairs import Message, text_of
from dpo_core.quality.comparisons import digests, normal
from dpo_core.quality.near_duplicates import SHINGLE
from dpo_core.quality.texts import Bools, Hashes, Ints, Texts

NGRAM = 8  # words
COMMON, COMMON_SHARE, COMMON_MOST = 10, 0.01, 100  # a shingle in more prompts (of this share: at most) is boilerplate
FILTER = (1 << 20) - 1
NOBODY = -1


@dataclass(frozen=True)
class Postings:
    """Hashes, ascending, each with its text and its place there. `maybe` answers most no's at once."""

    hashes: Hashes
    whose: Ints
    place: Ints
    maybe: Bools

    @classmethod
    def of(cls, hashes: Hashes, whose: Ints, place: Ints | None = None) -> "Postings":
        """Sort them; equal hashes stay in order."""
        order = np.argsort(hashes, kind="stable")
        maybe = np.zeros(FILTER + 1, dtype=np.bool_)
        maybe[hashes & np.uint64(FILTER)] = True
        places = np.zeros_like(whose) if place is None else place
        return cls(hashes[order], whose[order], places[order], maybe)

    def meet(self, wanted: Hashes) -> tuple[Ints, Ints]:
        """Every meeting: index into `wanted`, ascending, and index into the postings."""
        asked = np.flatnonzero(self.maybe[wanted & np.uint64(FILTER)])
        start, end = (np.searchsorted(self.hashes, wanted[asked], side=side) for side in ("left", "right"))
        counts = end - start
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
    texts = Texts.of([asked(messages) for messages in kept.values()])
    shingles, owners = distinct(*texts.words.shingles(SHINGLE))
    ngrams, whose = texts.words.shingles(NGRAM, short=False)
    place = np.arange(len(ngrams)) - np.searchsorted(whose, whose)
    common = np.union1d(_common(shingles, len(kept)), _common(distinct(ngrams, whose)[0], len(kept)))
    boilerplate = Postings.of(common, np.zeros(len(common), dtype=np.int64))
    own, rare = ~has(boilerplate, shingles), ~has(boilerplate, ngrams)
    return PromptIndex(
        name,
        turns,
        np.array(list(counts.values()), dtype=np.int64),
        np.diff(texts.words.bounds),
        np.bincount(owners[own], minlength=len(kept)),
        Postings.of(digests(counts), np.arange(len(kept))),
        Postings.of(shingles[own], owners[own]),
        Postings.of(ngrams[rare], whose[rare], place[rare]),
        boilerplate,
    )


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

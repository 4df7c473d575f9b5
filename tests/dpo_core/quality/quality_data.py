"""Preference pairs made for tests: Zipf words, random labels, one planted artefact."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.quality.facts import columns
from dpo_core.quality.table import PairTable

VOCABULARY = np.array([f"w{rank}" for rank in range(2000)])
FREQUENCY = 1 / np.arange(3, 2003) ** 1.0
FREQUENCY /= FREQUENCY.sum()


def make_pair(prompt: str, chosen: str, rejected: str) -> EncodedPair:
    def say(role, text):
        return ({"role": role, "content": text},)

    return EncodedPair(Pair(say("user", prompt), say("assistant", chosen), say("assistant", rejected)), (), (), ())


def answer(rng: np.random.Generator, length: int = 30) -> str:
    return " ".join(VOCABULARY[rng.choice(2000, size=length, p=FREQUENCY)])


def null_texts(seed: int, count: int) -> list[list[str]]:
    """[chosen, rejected] texts that differ by chance only."""
    rng = np.random.default_rng(seed)
    return [[answer(rng), answer(rng)] for _ in range(count)]


def as_pairs(texts: list[list[str]]) -> list[EncodedPair]:
    return [make_pair(f"prompt {row}", chosen, rejected) for row, (chosen, rejected) in enumerate(texts)]


def table_of_pairs(pairs: Sequence[EncodedPair], **more: NDArray) -> PairTable:
    """A table of pairs in memory, with the columns of dpo_core.quality.facts and those of `more`."""
    kept = list(pairs)
    return PairTable(len(kept), {**columns(kept), **more}, lambda rows: [kept[row].pair for row in rows])


def measured(results):
    return {measure.check: measure.value for measure in results[0]}


def severities(results):
    return {finding.check: finding.severity for finding in results[1]}

"""Preference pairs made for tests: Zipf words, random labels, one planted artefact; and checks run on them."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.data.readers import read_pairs
from dpo_core.quality.check import Check, Facts
from dpo_core.quality.examine import SEPARATION, Examination, columns, examine, tables_of
from dpo_core.quality.features.ngrams import GramTable
from dpo_core.quality.prompts.index import PromptIndex, indexes_of
from dpo_core.quality.results import Results
from dpo_core.quality.table import PairTable
from dpo_core.recipe import Validation

VOCABULARY = [f"w{rank}" for rank in range(2000)]
FREQUENCY = 1 / np.arange(3, 2003) ** 1.0
FREQUENCY /= FREQUENCY.sum()
UP_TO = FREQUENCY.cumsum()
UP_TO /= UP_TO[-1]


def make_pair(prompt: str, chosen: str, rejected: str) -> EncodedPair:
    def say(role, text):
        return ({"role": role, "content": text},)

    return EncodedPair(Pair(say("user", prompt), say("assistant", chosen), say("assistant", rejected)), (), (), ())


def answer(rng: np.random.Generator, length: int = 30, up_to: NDArray[np.float64] = UP_TO) -> str:
    """Words drawn as `rng.choice(2000, size=length, p=FREQUENCY)` draws them, which adds up all frequencies anew."""
    return " ".join(VOCABULARY[rank] for rank in up_to.searchsorted(rng.random(length), side="right").tolist())


def null_texts(seed: int, count: int) -> list[list[str]]:
    """[chosen, rejected] texts that differ by chance only."""
    rng = np.random.default_rng(seed)
    return [[answer(rng), answer(rng)] for _ in range(count)]


def as_pairs(texts: list[list[str]]) -> list[EncodedPair]:
    return [make_pair(f"prompt {row}", chosen, rejected) for row, (chosen, rejected) in enumerate(texts)]


def through_a_file(tmp_path, rows: Sequence[Mapping]) -> list[EncodedPair]:
    """The pairs that the reader makes of these rows; those that it quarantines are left out."""
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [EncodedPair(pair, (), (), ()) for pair in read_pairs(path).pairs]


def table_of_pairs(pairs: Sequence[EncodedPair], checks: Sequence[Check], **more: NDArray) -> PairTable:
    """A table of pairs in memory, with the columns of these checks and those of `more`."""
    kept = list(pairs)
    found = {**columns(kept, Validation(), checks=checks), **more}
    return PairTable(len(kept), found, lambda rows: [kept[row].pair for row in rows])


def run_check(
    check: Check,
    pairs: Sequence[EncodedPair],
    validation: Validation | None = None,
    indexes: Sequence[PromptIndex] = (),
    more: Mapping[str, NDArray] | None = None,
    **known,
) -> Results:
    """One check on pairs in memory: it sees no columns but its own and those of `more`."""
    kept, validation = list(pairs), validation or Validation()
    found = {**columns(kept, validation, indexes, [check]), **(more or {})}
    none = np.zeros(0, dtype=np.int64)
    grams = GramTable(none, none, sparse.csr_array((0, 0), dtype=np.int8))
    table = PairTable(len(kept), found, lambda rows: [kept[row].pair for row in rows])
    return check.run(Facts(table, grams, indexes, **known), validation)


def separated(pairs: Sequence[EncodedPair], validation: Validation) -> Results:
    """What the checks measure and find that look for what tells the sides apart."""
    found = examine(Facts(*tables_of(pairs, validation, checks=SEPARATION)), validation, SEPARATION)
    return found.measures, found.findings


def examine_pairs(
    train: Sequence[EncodedPair], validation: Validation | None = None, held_out: Sequence[EncodedPair] = ()
) -> Examination:
    """All checks; `held_out` is only compared with the pairs."""
    validation = validation or Validation()
    indexes = indexes_of((pair.pair.prompt for pair in held_out), validation)
    return examine(Facts(*tables_of(train, validation, indexes), indexes), validation)


def measured(results):
    return {measure.check: measure.value for measure in results[0]}


def severities(results):
    return {finding.check: finding.severity for finding in results[1]}

"""All checks of a data set, in one order: the columns they need, and what they make of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality import separation, table
from dpo_core.quality.grams import Grams, GramTable, grams, merge
from dpo_core.quality.prompts import sample_rows
from dpo_core.quality.separation import examine_separation
from dpo_core.quality.table import Columns, PairTable
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure

TokenText = Callable[[int], str]


@dataclass(frozen=True)
class Examination:
    """What the checks measured, for the gate, and what they found, for people."""

    measures: list[Measure]
    findings: list[Finding]


@dataclass(frozen=True)
class Facts:
    """What is known of the pairs trained on. `rows`: which of them `grams` were taken of, ascending."""

    table: PairTable
    grams: Sequence[Grams]
    rows: NDArray[np.int64]
    encoding: Mapping[str, int] = field(default_factory=dict)
    own_split: bool = False

    @property
    def gram_table(self) -> GramTable:
        """The n-grams of the sample, as one table."""
        return merge(self.grams, self.rows)


def columns(pairs: Sequence[EncodedPair], validation: Validation) -> Columns:
    """Everything that `examine_facts` needs of a chunk of pairs, an entry a pair. Pure, for worker processes."""
    return {**table.columns(pairs), **separation.columns(pairs, validation)}


def examine_facts(facts: Facts, validation: Validation, token_text: TokenText | None) -> Examination:
    """Run every check.

    `token_text` gives the text of one token id of the training tokenizer; without it words alone are examined.
    The same input gives the same result, to the last bit.
    """
    results = (examine_separation(facts.table, facts.gram_table, validation, token_text),)
    return Examination(
        [measure for measures, _ in results for measure in measures],
        [finding for _, findings in results for finding in findings],
    )


def examine(
    train: Sequence[EncodedPair],
    held_out: Sequence[EncodedPair],
    validation: Validation,
    token_text: TokenText | None,
) -> Examination:
    """The same for pairs that are in memory; `held_out` is only compared with them."""
    found = columns(train, validation)
    rows = sample_rows(found["prompt"])
    everything = PairTable(len(train), found, lambda wanted: [train[row].pair for row in wanted])
    facts = Facts(everything, [grams([train[row] for row in rows.tolist()])], rows)
    return examine_facts(facts, validation, token_text)

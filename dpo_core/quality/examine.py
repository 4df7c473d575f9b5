"""All checks of a data set, in one order: the columns they need, and what they make of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.check import Check, Facts
from dpo_core.quality.checks import (
    consistency,
    drift,
    duplicates,
    generators,
    languages,
    leakage,
    personal_data,
    sources,
    structure,
)
from dpo_core.quality.features.ngrams import GramTable, grams, merge
from dpo_core.quality.postings import PromptIndex
from dpo_core.quality.prompts.groups import group_columns, group_prompts, sketches
from dpo_core.quality.prompts.identity import sample_rows
from dpo_core.quality.shortcuts import balance, findings, power, probe, within_strata
from dpo_core.quality.table import Block, Columns, PairTable, size_columns
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure

# all that tells the chosen side from the rejected one
SEPARATION = (balance.CHECK, generators.CHECK, findings.CHECK, within_strata.CHECK, probe.CHECK)
CHECKS = (
    structure.CHECK,
    duplicates.CHECK,
    consistency.CHECK,
    leakage.CHECK,
    languages.CHECK,
    sources.CHECK,
    *SEPARATION,
    power.CHECK,
    personal_data.CHECK,
    drift.CHECK,
)
BLOCK_SIZE = 250  # pairs whose words are looked at together: what then stays in the processor's cache


@dataclass(frozen=True)
class Examination:
    """What the checks measured, for the gate, and what they found, for people."""

    measures: list[Measure]
    findings: list[Finding]


def columns(
    pairs: Sequence[EncodedPair],
    validation: Validation,
    indexes: Sequence[PromptIndex] = (),
    checks: Sequence[Check] = CHECKS,
) -> Columns:
    """Everything that the checks need of some pairs, and their sizes: an entry (or row) a pair. Pure, for processes."""
    functions = dict.fromkeys([size_columns, *(function for check in checks for function in check.columns)])
    parts = []
    for start in range(0, max(len(pairs), 1), BLOCK_SIZE):
        block = Block(pairs[start : start + BLOCK_SIZE], validation, indexes)
        parts.append({name: column for function in functions for name, column in function(block).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def examine(facts: Facts, validation: Validation, checks: Sequence[Check] = CHECKS) -> Examination:
    """Run the checks. The same input gives the same result, to the last bit."""
    results = [check.run(facts, validation) for check in checks]
    return Examination(
        [measure for measures, _ in results for measure in measures],
        [finding for _, findings in results for finding in findings],
    )


def tables_of(
    pairs: Sequence[EncodedPair],
    validation: Validation,
    indexes: Sequence[PromptIndex] = (),
    checks: Sequence[Check] = CHECKS,
) -> tuple[PairTable, GramTable]:
    """What `Facts` needs of pairs that are in memory: all their columns, and the features of a sample."""
    found = columns(pairs, validation, indexes, checks)
    found |= group_columns(found["prompt"], group_prompts(found["prompt"], sketches([p.pair.prompt for p in pairs])))
    sampled = sample_rows(found["prompt"])
    table = PairTable(len(pairs), found, lambda rows: [pairs[row].pair for row in rows])
    return table, merge([grams([pairs[row] for row in sampled.tolist()])], sampled)

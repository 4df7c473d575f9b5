"""All that tells the chosen side from the rejected one: columns to collect, checks to run on them."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.check import Block, Facts
from dpo_core.quality.checks.generators import check_origins
from dpo_core.quality.prompts.groups import group_columns, group_prompts, sketches
from dpo_core.quality.prompts.identity import prompt_columns, sample_rows
from dpo_core.quality.shortcuts.balance import check_balance
from dpo_core.quality.shortcuts.declared import declared_columns
from dpo_core.quality.shortcuts.features import GramTable, TokenText, grams, merge
from dpo_core.quality.shortcuts.findings import check_shortcuts
from dpo_core.quality.shortcuts.power import check_power
from dpo_core.quality.shortcuts.probe import check_probe
from dpo_core.quality.shortcuts.within_strata import check_within_strata
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.surface import surface_columns
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure


def columns(pairs: Sequence[EncodedPair], validation: Validation) -> dict[str, NDArray[Any]]:
    """Facts of a chunk of pairs for all checks of this module. Pure, picklable."""
    block = Block(pairs, validation)
    return {**surface_columns(block), **prompt_columns(block), **declared_columns(block)}


def examine_separation(
    table: PairTable, grams: GramTable, validation: Validation, token_text: TokenText | None, *, smoke: bool = True
) -> tuple[list[Measure], list[Finding]]:
    """Every check. `table` has `columns` of all pairs; `grams` those of `sample_rows`, in order.

    `token_text` gives the text of one token id of the training tokenizer, where pairs are encoded.
    `smoke`: plant artefacts into a copy of a sample and look for them (a few seconds).
    """
    facts = Facts(table, grams, token_text=token_text)
    results = [
        check_balance(facts, validation),
        check_origins(table, validation),
        check_shortcuts(facts, validation),
        check_within_strata(facts, validation),
        check_probe(facts, validation),
    ]
    if smoke:
        results.append(check_power(facts, validation))
    return [m for measures, _ in results for m in measures], [f for _, findings in results for f in findings]


def tables_of(pairs: Sequence[EncodedPair], validation: Validation) -> tuple[PairTable, GramTable]:
    """Tables of pairs that are in memory, as one chunk."""
    facts = columns(pairs, validation)
    facts |= group_columns(facts["prompt"], group_prompts(facts["prompt"], sketches([p.pair.prompt for p in pairs])))
    table = PairTable(len(pairs), facts, lambda rows: [pairs[row].pair for row in rows])
    sampled = sample_rows(facts["prompt"])
    return table, merge([grams([pairs[row] for row in sampled.tolist()])], sampled)

"""All that tells the chosen side from the rejected one: columns to collect, checks to run on them."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.checks.generators import check_origins
from dpo_core.quality.prompts import identity as prompts
from dpo_core.quality.prompts.groups import group_columns, group_prompts, sketches
from dpo_core.quality.shortcuts import declared as intended
from dpo_core.quality.shortcuts.balance import check_balance
from dpo_core.quality.shortcuts.features import GramTable, grams, merge
from dpo_core.quality.shortcuts.findings import check_shortcuts
from dpo_core.quality.shortcuts.power import check_power
from dpo_core.quality.shortcuts.probe import check_probe
from dpo_core.quality.shortcuts.within_strata import check_conditional
from dpo_core.quality.table import PairTable
from dpo_core.quality.tested import TokenText, separate
from dpo_core.quality.text import surface
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure


def columns(pairs: Sequence[EncodedPair], validation: Validation) -> dict[str, NDArray[Any]]:
    """Facts of a chunk of pairs for all checks of this module. Pure, picklable."""
    return {**surface.columns(pairs), **prompts.columns(pairs), **intended.columns(pairs, validation.intended)}


def examine_separation(
    table: PairTable, grams: GramTable, validation: Validation, token_text: TokenText | None, *, smoke: bool = True
) -> tuple[list[Measure], list[Finding]]:
    """Every check. `table` has `columns` of all pairs; `grams` those of `prompts.sample_rows`, in order.

    `token_text` gives the text of one token id of the training tokenizer, where pairs are encoded.
    `smoke`: plant artefacts into a copy of a sample and look for them (a few seconds).
    """
    separation = separate(table, grams, token_text)
    results = [
        check_balance(table, validation),
        check_origins(table, validation),
        check_shortcuts(separation, validation.intended),
        check_conditional(separation, validation),
        check_probe(separation, validation),
    ]
    if smoke:
        results.append(([], [check_power(separation)]))
    return [m for measures, _ in results for m in measures], [f for _, findings in results for f in findings]


def tables_of(pairs: Sequence[EncodedPair], validation: Validation) -> tuple[PairTable, GramTable]:
    """Tables of pairs that are in memory, as one chunk."""
    facts = columns(pairs, validation)
    facts |= group_columns(facts["prompt"], group_prompts(facts["prompt"], sketches([p.pair.prompt for p in pairs])))
    table = PairTable(len(pairs), facts, lambda rows: [pairs[row].pair for row in rows])
    sampled = prompts.sample_rows(facts["prompt"])
    return table, merge([grams([pairs[row] for row in sampled.tolist()])], sampled)

"""Rows that repeat or contradict other rows, or their own scores."""

import numpy as np

from dpo_core.quality.checks.near_duplicates import ALIKE, find_near_duplicates
from dpo_core.quality.prompts.comparisons import contradictions, repeated, reused_ids
from dpo_core.quality.results import Results, Statistics, estimated, gathered, share_of_rows
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.words import Bools, Ints
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure

BOTH_WAYS_FAIL = 0.01  # share of pairs
REPEATED = "repeat an earlier row exactly: they count double in training. Remove the copies."
NEAR = (
    f"nearly repeat an earlier row (Jaccard index of five-word shingles from {ALIKE} on, in prompt and answers): "
    "they count double, and a split by row would leak. Keep one of each group."
)
NEAR_FLIPPED = (
    "nearly repeat an earlier row with its sides swapped: the labels contradict each other. Decide, or remove both."
)
NEAR_PROMPTS = (
    "have a prompt that nearly equals another one (about 70 % of their five-word shingles are shared, or more): such "
    "prompts count as one in every test, and stay on one side of a split. Nothing to do."
)
TEMPLATE = (
    "have a prompt that very many others nearly equal: it looks like a template filled in, so only equal prompts count "
    "as one. If the questions are the same, remove copies: tests would be too sure, and a split would leak."
)
BOTH_WAYS = "occur in both directions (A over B and B over A, same prompt): they cancel out. Decide, or remove both."
CYCLES = (
    "are part of a cycle among the answers to one prompt (A over B, B over C, C over A): no reward can satisfy them. "
    "Have those prompts judged again, or drop them."
)
FLIPPED = (
    "have the higher score (meta.chosen_score, meta.rejected_score) on the rejected side: "
    "the labels may be swapped. Swap or drop them."
)
TIES = "have the same score on both sides: their label is arbitrary. Drop them, or have them judged again."
SAME_ID = (
    "have an id that a row with another prompt has too: rows were mixed up, or ids assigned twice. Check the export."
)


def check_consistency(table: PairTable, validation: Validation) -> Results:
    """Copies, near copies, comparisons in both directions, cycles, scores that contradict the label, reused ids."""
    repeats, margin = repeated(table), table["comparison_margin"]
    both, cycles = contradictions(table)
    scored: Statistics = {"scored": int(np.isfinite(margin).sum())}
    limit = validation.max_flipped
    return gathered(
        [
            *_alike(table),
            share_of_rows("consistency/duplicates", table, repeats, REPEATED, fail_above=validation.max_duplicates),
            *_near(table, ~repeats, both, validation),
            share_of_rows(
                "consistency/both_directions", table, both, BOTH_WAYS, warn_above=0.0, fail_above=BOTH_WAYS_FAIL
            ),
            share_of_rows("consistency/cycles", table, cycles, CYCLES, warn_above=limit),
            share_of_rows("consistency/flipped", table, margin < 0, FLIPPED, warn_above=limit, statistics=scored),
            share_of_rows("consistency/ties", table, margin == 0, TIES, warn_above=limit, statistics=scored),
            share_of_rows("consistency/same_id", table, reused_ids(table), SAME_ID, warn_above=0.0),
        ]
    )


def _alike(table: PairTable) -> list[tuple[Measure, list[Finding]]]:
    """Prompts that count as one, and those that are too many for that. No fault: said, because other numbers use it."""
    if "prompt_group" not in table.columns:
        return []
    group = table["prompt_group"]
    several = np.isin(group, group[group != table["prompt"]])
    sizes = np.unique(group[several], return_counts=True)[1]
    counts: Statistics = {"groups": len(sizes), "largest": int(sizes.max(initial=0))}
    return [
        share_of_rows("consistency/near_prompts", table, several, NEAR_PROMPTS, statistics=counts),
        share_of_rows("consistency/template_prompts", table, table["prompt_template"], TEMPLATE),
    ]


def _near(table: PairTable, fresh: Bools, both: Bools, validation: Validation) -> list[tuple[Measure, list[Finding]]]:
    """Near copies, straight and flipped, among the rows that are no exact copies."""
    found = find_near_duplicates(table, fresh, both)
    counts: Statistics = {"candidates": found.candidates, "compared": found.checked}

    def result(check: str, rows: Ints, share: float, limit: float, says: str) -> tuple[Measure, list[Finding]]:
        bad = np.zeros(len(table), dtype=np.bool_)
        bad[rows] = True
        exact = share_of_rows(check, table, bad, says, warn_above=limit, statistics=counts)
        return exact if found.checked == found.candidates else estimated(*exact, share, len(table))

    return [
        result("consistency/near_duplicates", found.same, found.same_share, validation.max_near_duplicates, NEAR),
        result(
            "consistency/near_both_directions", found.flipped, found.flipped_share, validation.max_flipped, NEAR_FLIPPED
        ),
    ]

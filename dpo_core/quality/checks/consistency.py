"""Rows that contradict other rows, or their own scores."""

import numpy as np

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.prompts.comparisons import both_directions, comparison_columns, on_cycles, reused_ids
from dpo_core.quality.prompts.identity import prompt_columns
from dpo_core.quality.results import Results, Statistics, gathered, share_of_rows
from dpo_core.recipe import Validation

BOTH_WAYS_FAIL = 0.01  # share of pairs
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


def check_consistency(facts: Facts, validation: Validation) -> Results:
    """Comparisons in both directions, cycles, scores that contradict the label, ids on two prompts."""
    table = facts.table
    margin, both = table["comparison_margin"], both_directions(table)
    cycles, ids = on_cycles(table) & ~both, reused_ids(table)
    scored: Statistics = {"scored": int(np.isfinite(margin).sum())}
    limit = validation.max_flipped
    return gathered(
        [
            share_of_rows(
                "consistency/both_directions", table, both, BOTH_WAYS, warn_above=0.0, fail_above=BOTH_WAYS_FAIL
            ),
            share_of_rows("consistency/cycles", table, cycles, CYCLES, warn_above=limit),
            share_of_rows("consistency/flipped", table, margin < 0, FLIPPED, warn_above=limit, statistics=scored),
            share_of_rows("consistency/ties", table, margin == 0, TIES, warn_above=limit, statistics=scored),
            share_of_rows("consistency/same_id", table, ids, SAME_ID, warn_above=0.0),
        ]
    )


CHECK = Check("consistency", columns=(prompt_columns, comparison_columns), run=check_consistency)

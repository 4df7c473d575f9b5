"""Which step of a pipeline made the sides differ: the same rules before and after each of them.

A filter that looks at one side only (answers of at least 100 characters, of the chosen side) makes a shortcut out of
data that had none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.quality.features.feature_tests import score_features
from dpo_core.quality.prompts.identity import prompt_clusters
from dpo_core.quality.results import Statistics
from dpo_core.quality.shortcuts.balance import balances
from dpo_core.quality.stats.given_length import length_terms
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.surface import PRESENCE
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Table

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class FilterStep:
    """A filter by name. `kept`: (N,) of all pairs, what is left when this step and those before it are done."""

    name: str
    kept: Mask


def check_filter_steps(table: PairTable, steps: Sequence[FilterStep], validation: Validation) -> list[Finding]:
    """A warning for each step after which a length, amount or property is flagged that was not flagged before it.

    `table` holds all pairs, those that the steps take away included. The flag itself gates elsewhere: on what is left.
    """
    findings = []
    before = np.ones(len(table), dtype=np.bool_)
    rules_before = _rules(table, before, validation)
    for step in steps:
        rules_after = _rules(table, step.kept, validation)
        new = [name for name, (flagged, _) in rules_after.items() if flagged and not rules_before[name][0]]
        if new:
            findings.append(_finding(step, int(before.sum()), new, rules_before, rules_after))
        before, rules_before = step.kept, rules_after
    return findings


def _rules(table: PairTable, kept: Mask, validation: Validation) -> dict[str, tuple[bool, float]]:
    """Of every amount and property: whether it is flagged, and the share of pairs won by the side with more of it."""
    rules = {b.name: (b.severity(validation) != "info", b.more_wins) for b in balances(table, kept)}
    rows = np.flatnonzero(kept)
    scores = score_features(
        sparse.csr_array(table["presence"][rows]),
        prompt_clusters(table, rows),
        table["answers"][rows],
        length_terms(table["log_length"][rows]),
    )
    signed = 0.5 + np.sign(scores.z) * (scores.accuracy - 0.5)
    flagged = scores.fails | scores.warns
    return rules | {name: (bool(flagged[k]), float(signed[k])) for k, name in enumerate(PRESENCE)}


def _finding(
    step: FilterStep,
    before: int,
    new: Sequence[str],
    rules_before: dict[str, tuple[bool, float]],
    rules_after: dict[str, tuple[bool, float]],
) -> Finding:
    left = int(step.kept.sum())
    first = new[0]
    says = (
        f"the step {step.name!r} (it leaves {left} of {before} pairs) makes a shortcut: the side with more "
        f"{first} wins {rules_before[first][1]:.1%} of pairs before it and {rules_after[first][1]:.1%} after. "
        "It looks at one side only: filter by both sides alike"
    )
    rows = tuple((name, round(rules_before[name][1], 3), round(rules_after[name][1], 3)) for name in new)
    table = Table(f"Before and after {step.name}", ("the side with (more)", "wins before", "wins after"), rows)
    statistics: Statistics = {"before": before, "after": left, "new_flags": len(new)}
    return Finding("shortcut/filter_step", "warn", says, step.name, statistics=statistics, tables=(table,))

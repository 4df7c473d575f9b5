"""Whether the model that wrote an answer already says whether it was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.prompts.identity import origin, prompt_clusters, prompt_columns
from dpo_core.quality.results import Results, Statistics
from dpo_core.quality.stats.clusters import effective_size
from dpo_core.quality.table import PairTable
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity, Table

ALWAYS, LEAST_PAIRS = 0.95, 50
NAME = "balance/generator"


@dataclass(frozen=True)
class Generator:
    """A model that wrote one side of some pairs."""

    digest: int
    chosen: int
    rejected: int
    independent: float  # pairs, those of one prompt counted as fewer

    @property
    def share(self) -> float:
        """Of its pairs that go the more frequent way."""
        return max(self.chosen, self.rejected) / (self.chosen + self.rejected)


def generators(table: PairTable) -> list[Generator]:
    """Every model that wrote exactly one side of some pair, most pairs first."""
    chosen, rejected, clusters = table["chosen_model"], table["rejected_model"], prompt_clusters(table)
    differ = chosen != rejected
    found = []
    for digest in np.unique(np.concatenate([chosen[differ], rejected[differ]])).tolist():
        if digest:
            wins, losses = differ & (chosen == digest), differ & (rejected == digest)
            found.append(
                Generator(
                    digest, int(wins.sum()), int(losses.sum()), effective_size(np.bincount(clusters[wins | losses]))
                )
            )
    return sorted(found, key=lambda generator: (-generator.chosen - generator.rejected, generator.digest))


def check_generators(facts: Facts, validation: Validation) -> Results:
    """Fails where a model's answers are chosen (or rejected) in more than 95 % of at least 50 independent pairs.

    Nothing is said where the rows do not name their models. `generator` in validation.intended: such pairs are meant.
    """
    found = generators(facts.table)
    if not found:
        return [], []
    leaks = [g for g in found if g.share > ALWAYS and g.independent >= LEAST_PAIRS]
    intended = "generator" in validation.intended
    worst = max((g.share for g in found if g.independent >= LEAST_PAIRS), default=0.5)
    says = f"{len(leaks)} of {len(found)} models that wrote answers are (almost) always on the same side"
    measure = Measure(NAME, worst, None, None if intended else ALWAYS, says)
    return [measure], [_finding(facts.table, found, leaks, intended)] if leaks else []


def _finding(table: PairTable, found: Sequence[Generator], leaks: Sequence[Generator], intended: bool) -> Finding:
    names, first = _names(table, found), leaks[0]
    side = "chosen" if first.chosen > first.rejected else "rejected"
    says = (
        f"answers of {names[first.digest]} are {side} in {first.share:.1%} of the "
        f"{first.chosen + first.rejected} pairs it wrote one side of: who wrote it decides, not how good it is, "
        "and the model learns that style. "
    )
    says += (
        "Declared as intended."
        if intended
        else "Mix in pairs that it loses, or declare `generator` in validation.intended."
    )
    answers = Table(
        "Answers of each model",
        ("model", "chosen", "rejected", "share chosen"),
        tuple(
            (names[g.digest], g.chosen, g.rejected, round(g.chosen / (g.chosen + g.rejected), 3)) for g in found[:20]
        ),
    )
    numbers: Statistics = {
        "share": first.share,
        "pairs": first.chosen + first.rejected,
        "models": len(leaks),
    }
    severity: Severity = "info" if intended else "fail"
    return Finding(NAME, severity, says, "generator", intended, numbers, tables=(answers,))


def _names(table: PairTable, found: Sequence[Generator]) -> dict[int, str]:
    """Read from a row of each."""
    names = {}
    for generator in found:
        for column in ("chosen_model", "rejected_model"):
            rows = np.flatnonzero(table[column] == generator.digest)
            if len(rows):
                names[generator.digest] = origin(table.rows([int(rows[0])])[0], column)
                break
    return names


CHECK = Check(NAME, columns=(prompt_columns,), run=check_generators)

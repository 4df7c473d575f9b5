"""Surface features that give away which answer was chosen: a model learns them instead of what people meant.

Paired sign tests with effect sizes, after Gardner et al. 2021 (arXiv:2104.08646) and Westfall & Young 1993.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.evidence import evidence_of
from dpo_core.quality.features import Feature, FeatureTable, feature_table
from dpo_core.quality.intended import intended_features, phrases_of
from dpo_core.quality.prompts import prompt_clusters
from dpo_core.quality.statistics import (
    as_independent,
    by_cluster,
    false_discovery,
    family_p,
    least_detectable,
    purity_lower_bound,
    sign_test,
    signs,
)
from dpo_core.report.results import Finding, Measure, Severity

LEAST = 10  # discordant pairs below which a feature is not tested
ERROR = 0.01  # false discovery rate of warnings, family-wise error of failures
LISTED, AIMS_LISTED = 15, 4  # findings of a report, gating and intended; with the note on size 20 in all
ADVICE = (
    "a model can learn it instead of what makes the answer better. Add pairs in which it stands on the other side "
    "or on both, or declare the word in validation.intended"
)
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """Arrays over features. Counts are of pairs; tests and bounds allow for pairs that share a prompt."""

    chosen_only: NDArray[np.int64]
    rejected_only: NDArray[np.int64]
    purity: NDArray[np.float64]  # larger side's share of the discordant pairs
    purity_low: NDArray[np.float64]  # its one-sided 95 % lower bound
    coverage: NDArray[np.float64]  # discordant share of all pairs
    accuracy: NDArray[np.float64]  # of guessing the chosen side by this feature, else by a coin
    z: NDArray[np.float64]
    q: NDArray[np.float64]
    p_family: NDArray[np.float64]

    @property
    def fails(self) -> Bools:
        """Beyond chance in the whole family, and a rule worth learning."""
        pure = (self.purity_low >= 0.9) & (self.coverage >= 0.02)
        return (self.p_family <= ERROR) & (pure | (self.accuracy >= 0.60))

    @property
    def warns(self) -> Bools:
        """Likely real, and large enough to matter."""
        return (self.q <= ERROR) & (self.purity_low >= 0.75) & (self.coverage >= 0.005) & ~self.fails

    def of(self, column: int) -> dict[str, float | int | str]:
        """One feature's numbers."""
        return {name: getattr(self, name)[column].item() for name in self.__dataclass_fields__}


def check_shortcuts(
    pairs: Sequence[EncodedPair], *, intended: Sequence[str], token_text: Callable[[int], str] | None
) -> tuple[list[Measure], list[Finding]]:
    """Test every surface feature of the answers; declared aims are shown and do not count."""
    table = feature_table(pairs, token_text=token_text, phrases=phrases_of(intended), least=LEAST)
    scores = score(table.d, prompt_clusters(pairs))
    flagged = np.flatnonzero(scores.fails | scores.warns).tolist()
    aims = intended_features(table.features, table.d, flagged, intended)
    flagged = _without_repeats(table.features, flagged)
    flagged.sort(key=lambda column: (not scores.fails[column], -abs(scores.z[column]), table.features[column]))
    gating = [column for column in flagged if column not in aims]
    shown = [*gating[:LISTED], *[column for column in flagged if column in aims][:AIMS_LISTED]]
    findings = [_finding(column, column in aims, pairs, table, scores) for column in shown]
    failing = sum(bool(scores.fails[column]) for column in gating)
    measures = [
        Measure("shortcut/failing_features", float(failing), None, 0.0, _says_count(failing, "clearly")),
        Measure(
            "shortcut/warning_features",
            float(len(gating) - failing),
            0.0,
            None,
            _says_count(len(gating) - failing, "probably"),
        ),
    ]
    return measures, [*findings, _power(len(table.features), len(pairs))]


def score(d: sparse.csr_array, clusters: NDArray[np.int64]) -> Scores:
    """Statistics of each column of d (pairs, features in {-1, 0, 1}; none empty), pairs grouped by `clusters`.

    Pairs of one prompt may share an answer, so p values and bounds count a feature's pairs as if they were fewer.
    The max-T test runs only if some feature is a candidate without it; p_family is 1 otherwise.
    """
    total, num_features = d.shape
    plus, minus = signs(d)
    discordant, larger = plus + minus, np.maximum(plus, minus)
    sums = by_cluster(d, clusters)
    independent = as_independent(plus, minus, sums)
    scores = Scores(
        chosen_only=plus,
        rejected_only=minus,
        purity=larger / discordant,
        purity_low=purity_lower_bound(np.maximum(*independent), independent[0] + independent[1]),
        coverage=discordant / max(total, 1),
        accuracy=0.5 + np.abs(plus - minus) / (2 * max(total, 1)),
        z=(plus - minus) / np.sqrt(discordant),
        q=false_discovery(sign_test(*independent)),
        p_family=np.zeros(num_features),
    )
    candidates = (scores.fails | scores.warns).any()
    scores.p_family[:] = family_p(sums, discordant) if candidates else 1.0
    return scores


def _without_repeats(features: Sequence[Feature], flagged: Sequence[int]) -> list[int]:
    """Leave out tokens that spell a flagged word: the word says it better."""
    spelt = {features[column][1] for column in flagged if features[column][0] == "word"}
    return [c for c in flagged if features[c][0] != "token" or features[c][1].strip().casefold() not in spelt]


def _finding(column: int, intended: bool, pairs: Sequence[EncodedPair], table: FeatureTable, scores: Scores) -> Finding:
    kind, text = table.features[column]
    numbers = scores.of(column)
    towards = 1 if scores.z[column] > 0 else -1
    side = "chosen" if towards > 0 else "rejected"
    rows = np.flatnonzero(table.d[:, [column]].toarray().ravel() == towards)
    severity: Severity = "info" if intended else "fail" if scores.fails[column] else "warn"
    name = f"{kind} {text!r}" if kind != "property" else text
    says = (
        f"{name} stands only in the {side} answer in {len(rows)} of the "
        f"{numbers['chosen_only']} + {numbers['rejected_only']} pairs that differ in it "
        f"({scores.coverage[column]:.1%} of all pairs): "
    )
    says += "declared as intended" if intended else ADVICE
    evidence = evidence_of((pairs[row].pair for row in rows.tolist()), text if kind != "property" else "")
    return Finding(f"shortcut/{kind.replace(' ', '_')}", severity, says, name, intended, numbers, evidence)


def _says_count(count: int, how: str) -> str:
    return f"{count} surface features {how} tell the chosen answer from the rejected one"


def _power(num_features: int, total: int) -> Finding:
    needed = least_detectable(num_features)
    share = needed / total if total else float("inf")
    says = (
        f"{num_features} features were tested. One that always stands on the same side is seen from about {needed} "
        f"pairs on, {share:.1%} of these {total}: a rarer shortcut would go unnoticed"
    )
    counts: dict[str, float | int | str] = {"features": num_features, "pairs_needed": needed, "share_needed": share}
    return Finding("shortcut/detectable", "info", says, statistics=counts)

"""Paired sign tests of many features at once, with effect sizes, and the limits that they are judged by.

After Gardner et al. 2021 (arXiv:2104.08646) and Westfall & Young 1993.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from dpo_core.quality.shortcuts.features import LEAST
from dpo_core.quality.stats.given_length import adjusted_z
from dpo_core.quality.stats.sign_tests import (
    as_independent,
    by_cluster,
    false_discovery,
    family_bound,
    family_p,
    log_odds,
    purity_lower_bound,
    sign_test,
    signs,
    squares,
)

ERROR = 0.01  # false discovery rate of warnings
FAMILY_ERROR = 0.005  # family-wise error of failures; strata and lengths have the rest of one percent
PURE, PURE_COVERAGE, RULE_ACCURACY = 0.90, 0.02, 0.60  # fail
LIKELY, LIKELY_COVERAGE = 0.75, 0.005  # warn
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Arrays over features. Counts are of pairs; tests and bounds allow for pairs that share a prompt."""

    chosen_only: Counts
    rejected_only: Counts
    purity: Floats  # larger side's share of the discordant pairs
    purity_low: Floats  # its one-sided 95 % lower bound
    coverage: Floats  # discordant share of all pairs
    accuracy: Floats  # of guessing the chosen side by this feature, else by a coin
    z: Floats
    q: Floats
    p_family: Floats
    z_adjusted: Floats  # given the lengths of the answers
    q_adjusted: Floats  # over the features that would be flagged, did the lengths not explain them
    log_odds_z: Floats  # for reading

    @property
    def size_fails(self) -> Bools:
        """A rule worth learning."""
        pure = (self.purity_low >= PURE) & (self.coverage >= PURE_COVERAGE)
        return pure | (self.accuracy >= RULE_ACCURACY)

    @property
    def size_warns(self) -> Bools:
        """Large enough to matter."""
        return (self.purity_low >= LIKELY) & (self.coverage >= LIKELY_COVERAGE)

    @property
    def beyond_length(self) -> Bools:
        """Not explained by longer or shorter answers."""
        return np.asarray((self.q_adjusted <= ERROR) & (np.sign(self.z_adjusted) == np.sign(self.z)), dtype=np.bool_)

    @property
    def fails(self) -> Bools:
        """Beyond chance in the whole family, whatever the lengths, and a rule worth learning."""
        return (self.p_family <= FAMILY_ERROR) & self.beyond_length & self.size_fails

    @property
    def warns(self) -> Bools:
        """Likely real, whatever the lengths, and large enough to matter."""
        return (self.q <= ERROR) & self.beyond_length & (self.size_warns | self.size_fails) & ~self.fails

    @property
    def by_length(self) -> Bools:
        """Would be flagged, did the lengths not explain it."""
        return (self.q <= ERROR) & (self.size_warns | self.size_fails) & ~self.beyond_length

    def of(self, column: int) -> dict[str, float | int | str]:
        """One feature's numbers."""
        return {field.name: getattr(self, field.name)[column].item() for field in fields(self)}


def score(d: sparse.csr_array, clusters: Counts, terms: Floats) -> Scores:
    """Statistics of each column of d (pairs, features in {-1, 0, 1}), pairs grouped by `clusters`.

    Pairs of one prompt may share an answer, so p values and bounds count a feature's pairs as if they were fewer.
    Family p values are simulated only where a bound does not decide; a feature seen fewer than ten times has p 1.
    `terms`: `length_terms` of the pairs.
    """
    total = max(d.shape[0], 1)
    plus, minus = signs(d)
    discordant, larger = plus + minus, np.maximum(plus, minus)
    seen = np.maximum(discordant, 1)
    sums = by_cluster(d, clusters)
    independent = as_independent(plus, minus, sums)
    tested = discordant >= LEAST
    z_adjusted = adjusted_z(d, clusters, terms)
    scores = Scores(
        chosen_only=plus,
        rejected_only=minus,
        purity=larger / seen,
        purity_low=purity_lower_bound(np.maximum(*independent), independent[0] + independent[1]),
        coverage=discordant / total,
        accuracy=0.5 + np.abs(plus - minus) / (2 * total),
        z=(plus - minus) / np.sqrt(np.maximum(seen, squares(sums))),
        q=_q(sign_test(*independent), tested),
        p_family=np.ones(len(plus)),
        z_adjusted=z_adjusted,
        q_adjusted=np.ones(len(plus)),
        log_odds_z=log_odds(plus, minus),
    )
    candidates = (scores.q <= ERROR) & (scores.size_warns | scores.size_fails)
    scores.q_adjusted[:] = _q(2 * special.ndtr(-np.abs(z_adjusted)), candidates)
    scores.p_family[tested] = _family(
        sums[:, np.flatnonzero(tested)], (scores.size_fails & scores.beyond_length)[tested]
    )
    return scores


def _q(p: Floats, tested: Bools) -> Floats:
    q = np.ones(len(p))
    q[tested] = false_discovery(np.asarray(p, dtype=np.float64)[tested])
    return q


def _family(sums: sparse.csr_array, candidates: Bools) -> Floats:
    """Family p values: the bound's, or the simulation's where some candidate needs it."""
    bound = family_bound(sums)
    if (candidates & (bound > FAMILY_ERROR)).any():
        return np.minimum(bound, family_p(sums))
    return bound

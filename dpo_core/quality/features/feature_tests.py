"""Every property, word and token of the sampled pairs, tested: what the checks for shortcuts read from.

A shortcut's p value is computed in `score_features`. The idea is that of Gardner et al. 2021 (arXiv:2104.08646): a
feature that has no part in what people meant stands as often on one side as on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from dpo_core.data.pairs import Pair
from dpo_core.quality.features.ngrams import LEAST, Feature, GramTable, TokenText, spell
from dpo_core.quality.prompts.identity import prompt_clusters
from dpo_core.quality.stats.given_length import adjusted_z, length_terms
from dpo_core.quality.stats.shared_answers import paired_p
from dpo_core.quality.stats.sign_tests import (
    as_independent,
    by_cluster,
    false_discovery,
    family_p_or_bound,
    log_odds,
    purity_lower_bound,
    signs,
    squares,
)
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.surface import PRESENCE

ERROR = 0.01  # of warnings: the false discovery rate of a family of tests, or p of a single one
# Family-wise error of failures. A data set goes through all three families: together one percent.
FEATURES_ERROR, STRATA_ERROR, AMOUNTS_ERROR = 0.005, 0.003, 0.002
PURE, PURE_COVERAGE, RULE_ACCURACY = 0.90, 0.02, 0.60  # fail
LIKELY, LIKELY_COVERAGE = 0.75, 0.005  # warn
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class FeatureScores:
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
        return (self.p_family <= FEATURES_ERROR) & self.beyond_length & self.size_fails

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


@dataclass(frozen=True)
class Separation:
    """What was tested on the sampled pairs, and what came out.

    Columns of `d` are the properties (`surface.PRESENCE`), then the words and tokens that could matter; `grams` holds
    the latter alone, in the same order.
    """

    table: PairTable
    grams: GramTable
    d: sparse.csr_array
    clusters: Counts
    answers: Counts  # (pairs, 2): digests of the chosen and the rejected one
    length_terms: Floats
    scores: FeatureScores
    token_text: TokenText | None

    def features(self, columns: Sequence[int]) -> dict[int, Feature]:
        """What these columns of `d` are."""
        own = len(PRESENCE)
        spelt = spell(self.table, self.grams, [column - own for column in columns if column >= own], self.token_text)
        properties = {column: Feature("property", PRESENCE[column]) for column in columns if column < own}
        return {**properties, **{column + own: feature for column, feature in spelt.items()}}

    def column(self, column: int) -> NDArray[np.int8]:
        """One feature's d of every sampled pair."""
        return np.asarray(self.d[:, [column]].toarray().ravel(), dtype=np.int8)

    def fetch(self, places: NDArray[np.intp]) -> list[Pair]:
        """Sampled pairs by their place."""
        return self.table.rows(self.grams.rows[places].tolist())


def separate(table: PairTable, grams: GramTable, token_text: TokenText | None = None) -> Separation:
    """Test every property, word and token of the sampled pairs."""
    often = np.bincount(grams.d.indices, minlength=len(grams.keys)) >= max(LEAST, LIKELY_COVERAGE * len(grams.rows))
    tested = GramTable(grams.rows, grams.keys[often], sparse.csr_array(grams.d[:, np.flatnonzero(often)]))
    properties = sparse.csr_array(table["presence"][grams.rows])
    d = sparse.csr_array(sparse.hstack([properties, tested.d], format="csr"))
    clusters = prompt_clusters(table, grams.rows)
    answers, terms = table["answers"][grams.rows], length_terms(table["log_length"][grams.rows])
    scores = score_features(d, clusters, answers, terms)
    return Separation(table, tested, d, clusters, answers, terms, scores, token_text)


def score_features(d: sparse.csr_array, clusters: Counts, answers: Counts, terms: Floats) -> FeatureScores:
    """Test each column of d (pairs, features in {-1, 0, 1}), pairs grouped by `clusters`; `terms`: `length_terms`.

    p: the sign test with one sign for all pairs of a prompt, exact (McNemar's where no prompt repeats), or that of
    exchanging the answers (pairs, 2) that pairs share, whichever is larger. A feature seen fewer than ten times has
    p 1. q: the false discovery rate at that p (Benjamini & Hochberg 1995). p_family: the chance that any feature
    looks as strong where none matters (Westfall & Young 1993, max-T), simulated only where a bound does not decide;
    by exchange Bonferroni's. z_adjusted: the score test given the lengths (Rao 1948).
    """
    total = max(d.shape[0], 1)
    plus, minus = signs(d)
    discordant, larger = plus + minus, np.maximum(plus, minus)
    seen = np.maximum(discordant, 1)
    sums = by_cluster(d, clusters)
    independent = as_independent(plus, minus, sums)
    flips, exchanged = paired_p(d, sums, clusters, answers, below=ERROR)
    tested = discordant >= LEAST
    z_adjusted = adjusted_z(d, clusters, terms)
    scores = FeatureScores(
        chosen_only=plus,
        rejected_only=minus,
        purity=larger / seen,
        purity_low=purity_lower_bound(np.maximum(*independent), independent[0] + independent[1]),
        coverage=discordant / total,
        accuracy=0.5 + np.abs(plus - minus) / (2 * total),
        z=(plus - minus) / np.sqrt(np.maximum(seen, squares(sums))),
        q=_q(np.maximum(flips, exchanged), tested),
        p_family=np.ones(len(plus)),
        z_adjusted=z_adjusted,
        q_adjusted=np.ones(len(plus)),
        log_odds_z=log_odds(plus, minus),
    )
    candidates = (scores.q <= ERROR) & (scores.size_warns | scores.size_fails)
    scores.q_adjusted[:] = _q(2 * special.ndtr(-np.abs(z_adjusted)), candidates)
    scores.p_family[tested] = family_p_or_bound(
        sums[:, np.flatnonzero(tested)], (scores.size_fails & scores.beyond_length)[tested], FEATURES_ERROR
    )
    scores.p_family[:] = np.maximum(scores.p_family, np.minimum(1.0, exchanged * np.count_nonzero(tested)))
    return scores


def _q(p: Floats, tested: Bools) -> Floats:
    """Q among the features that are tested; 1 for the others."""
    q = np.ones(len(p))
    q[tested] = false_discovery(np.asarray(p, dtype=np.float64)[tested])
    return q

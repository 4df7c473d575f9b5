"""The paired statistics against scipy, brute force and hand values."""

import itertools

import numpy as np
import pytest
from scipy import optimize, sparse, stats

from dpo_core.quality.features.feature_tests import AMOUNTS_ERROR, FEATURES_ERROR, STRATA_ERROR, score_features
from dpo_core.quality.stats.clusters import bootstrap_interval, effective_size
from dpo_core.quality.stats.given_length import adjusted_z, length_terms, win_probability
from dpo_core.quality.stats.sign_tests import (
    by_cluster,
    false_discovery,
    family_bound,
    family_p,
    family_p_or_bound,
    least_detectable,
    log_odds,
    purity_lower_bound,
    sign_test,
)


def test_sign_test_equals_scipys_binomial_test_for_every_split_of_up_to_25():
    splits = np.array([(k, n - k) for n in range(1, 26) for k in range(n + 1)])
    expected = [stats.binomtest(int(k), int(k + m)).pvalue for k, m in splits]
    assert sign_test(splits[:, 0], splits[:, 1]) == pytest.approx(expected, abs=1e-12)


def test_ten_to_none_has_p_of_two_in_1024():
    assert sign_test(np.array([10]), np.array([0]))[0] == pytest.approx(2 / 1024)


def test_nothing_seen_has_p_one():
    assert sign_test(np.array([0]), np.array([0]))[0] == 1


def test_false_discovery_by_hand():
    # sorted .01 .02 .04 .5 -> times 4/rank: .04 .04 .0533 .5, already increasing
    q = false_discovery(np.array([0.5, 0.01, 0.04, 0.02]))
    assert q == pytest.approx([0.5, 0.04, 0.16 / 3, 0.04])


def test_lower_bound_of_a_pure_feature_is_the_root_of_five_percent():
    # all n on one side: P(n of n | p) = p^n = .05
    assert purity_lower_bound(np.array([20]), np.array([20]))[0] == pytest.approx(0.05 ** (1 / 20))


def test_lower_bound_solves_the_binomial_tail():
    low = purity_lower_bound(np.array([18]), np.array([20]))[0]
    assert stats.binom.sf(17, 20, low) == pytest.approx(0.05)


def test_lower_bound_of_nothing_is_zero():
    assert purity_lower_bound(np.array([0, 0]), np.array([0, 5])).tolist() == [0, 0]


def test_family_p_agrees_with_all_sign_flips():
    rng = np.random.default_rng(3)
    d = sparse.csr_array(rng.integers(-1, 2, size=(20, 6)))
    clusters = np.repeat(np.arange(10), 2)
    sums = by_cluster(d, clusters)
    dense = np.array([d.toarray()[clusters == c].sum(0) for c in range(10)])
    scale = 1 / np.sqrt(np.square(dense).sum(0))
    flips = np.array([np.abs(np.array(signs) @ dense * scale).max() for signs in itertools.product((-1, 1), repeat=10)])
    exact = [(flips >= z - 1e-9).mean() for z in np.abs(dense.sum(0)) * scale]
    assert family_p(sums, rounds=4000) == pytest.approx(exact, abs=0.03)


def test_family_p_of_the_same_seed_is_the_same_and_cannot_be_zero():
    d = sparse.csr_array(np.ones((40, 1), dtype=np.int8))
    sums = by_cluster(d, np.arange(40))
    p = [family_p(sums, rounds=200, seed=5)[0] for _ in range(2)]
    assert p == [1 / 201, 1 / 201]


def test_least_detectable_is_that_of_the_study():
    # log2(2 * 5000 / .01) = 19.93; log2(2 * 50000 / .01) = 23.25
    assert (least_detectable(5000), least_detectable(50_000)) == (20, 24)


def scores_of(d, clusters, answers=None):
    answers = np.arange(2 * d.shape[0]).reshape(-1, 2) if answers is None else answers
    return score_features(d, clusters, answers, length_terms(np.zeros(d.shape[0])))


def test_scores_of_one_feature_by_hand():
    d = sparse.csr_array(np.array([[1]] * 30 + [[-1]] * 10 + [[0]] * 60))
    scores = scores_of(d, np.arange(100))
    assert (scores.chosen_only[0], scores.rejected_only[0]) == (30, 10)
    assert scores.purity[0] == 0.75
    assert scores.coverage[0] == 0.4
    assert scores.accuracy[0] == pytest.approx(0.6)  # .6 * 1/2 + .3
    assert scores.z[0] == pytest.approx(20 / 40**0.5)
    assert scores.q[0] == pytest.approx(stats.binomtest(30, 40).pvalue)


def test_pairs_of_one_prompt_that_agree_count_as_one():
    d = sparse.csr_array(np.ones((40, 1), dtype=np.int8))
    assert scores_of(d, np.arange(40) // 4).q[0] == pytest.approx(2 / 1024)  # ten prompts
    assert scores_of(d, np.zeros(40, dtype=np.int64)).q[0] == pytest.approx(1)  # one prompt


def test_the_family_bound_is_never_below_the_exact_family_p():
    rng = np.random.default_rng(8)
    d = sparse.csr_array((rng.random((300, 40)) < np.linspace(0.5, 0.95, 40)) * 2 - 1)
    sums = by_cluster(d, np.arange(300))
    assert np.all(family_bound(sums) >= family_p(sums, rounds=2000) - 1 / 2001)
    assert family_bound(sums)[-1] < 1e-6


def test_family_p_is_simulated_only_where_the_bound_leaves_a_candidate_open():
    d = sparse.csr_array(np.array([[1, 1]] * 12 + [[1, 0]] * 28))  # bounds: 4 exp(-40 / 2) < .005 < 4 exp(-12 / 2)
    sums = by_cluster(d, np.arange(40))
    bound = family_bound(sums)
    assert family_p_or_bound(sums, np.array([True, False]), 0.005).tolist() == bound.tolist()
    assert family_p_or_bound(sums, np.array([True, True]), 0.005)[1] == family_p(sums)[1] < bound[1]


def test_the_family_errors_of_features_strata_and_amounts_sum_to_one_percent():
    assert pytest.approx(0.01) == FEATURES_ERROR + STRATA_ERROR + AMOUNTS_ERROR


def test_effective_size_by_hand():
    assert effective_size(np.ones(4)) == 4
    assert effective_size(np.array([3, 1])) == 1.6  # (3 + 1)^2 / (9 + 1)
    assert effective_size(np.zeros(3)) == 0


def test_the_interval_of_a_mean_allows_for_pairs_that_share_a_prompt():
    right = np.arange(400) % 4 > 0
    low, high = bootstrap_interval(right.astype(float), np.arange(400))
    assert (low, high) == pytest.approx((0.75 - 0.0424, 0.75 + 0.0424), abs=0.006)  # 1.96 (.75 .25 / 400)^.5
    assert bootstrap_interval(right.astype(float), np.arange(400) // 4) == (0.75, 0.75)  # every prompt has 3 of 4


def test_log_odds_order_features_by_how_typical_they_are_and_change_sign_with_the_sides():
    plus, minus = np.array([50, 5, 20]), np.array([5, 50, 20])
    z = log_odds(plus, minus)
    assert z[0] > 2 > z[2] > -2 > z[1]
    assert log_odds(minus, plus) == pytest.approx(-z)


def test_win_probability_is_the_logistic_fit_that_scipy_finds():
    rng = np.random.default_rng(9)
    d = rng.normal(0.3, 0.6, 400)
    terms = length_terms(d)

    def loss(b):
        return np.log1p(np.exp(-terms @ b)).sum()

    best = optimize.minimize(loss, np.zeros(2), method="BFGS", tol=1e-10).x
    assert win_probability(terms) == pytest.approx(1 / (1 + np.exp(-terms @ best)), abs=1e-3)


def test_given_equal_lengths_the_adjusted_z_is_that_of_the_sign_test():
    d = sparse.csr_array(np.array([[1]] * 30 + [[-1]] * 10 + [[0]] * 60))
    assert adjusted_z(d, np.arange(100), length_terms(np.zeros(100)))[0] == pytest.approx(20 / 40**0.5)


def test_the_adjusted_z_is_roughly_normal_when_only_length_decides():
    # tokens more likely in the longer answer; the longer answer wins 73 % of the time
    rng = np.random.default_rng(10)
    log_length = rng.normal(0.4, 0.65, 3000)
    d = sparse.csr_array(
        (rng.random((3000, 200)) < 0.1) * np.sign(log_length[:, None]) * np.sign(rng.random((3000, 200)) - 0.2)
    )
    plain = np.abs(d.sum(axis=0)) / np.sqrt(np.abs(d).sum(axis=0))
    adjusted = adjusted_z(d, np.arange(3000), length_terms(log_length))
    assert plain.min() > 1
    assert np.std(adjusted) == pytest.approx(1, abs=0.2)
    assert abs(adjusted.mean()) < 0.6


def test_pairs_of_one_prompt_widen_the_adjusted_test():
    d = sparse.csr_array(np.ones((40, 1), dtype=np.int8))
    terms = length_terms(np.zeros(40))
    assert adjusted_z(d, np.arange(40) // 4, terms)[0] == pytest.approx(10**0.5)  # ten prompts

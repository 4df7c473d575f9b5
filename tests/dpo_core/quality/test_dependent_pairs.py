"""Pairs that share a prompt or an answer: exact flips and exchanges against enumeration, and what is found by them."""

import itertools

import numpy as np
import pytest
from scipy import sparse, stats

from dpo_core.data.pairs import text_of
from dpo_core.quality.features.feature_tests import ERROR, score_features
from dpo_core.quality.stats.cluster_flips import flip_p
from dpo_core.quality.stats.given_length import length_terms
from dpo_core.quality.stats.shared_answers import exchange_p, paired_p
from dpo_core.quality.stats.sign_tests import by_cluster, sign_test
from dpo_core.recipe import Validation
from tests.dpo_core.quality import planted
from tests.dpo_core.quality.quality_data import make_pair, separated


def column(values):
    return sparse.csr_array(np.asarray(values, dtype=np.int8)[:, None])


def sums_of(values):
    return sparse.csr_array(np.asarray(values, dtype=np.float32)[:, None])


@pytest.mark.parametrize("seed", range(40))
def test_the_flip_p_is_the_share_of_all_sign_flips_of_whole_prompts(seed):
    rng = np.random.default_rng(seed)
    clusters = np.sort(rng.integers(0, 11, size=40))
    d = rng.choice([-1, 0, 1], size=40, p=[0.1, 0.4, 0.5])
    sums = np.array([d[clusters == cluster].sum() for cluster in range(11)])
    flips = np.abs(np.array(list(itertools.product((-1, 1), repeat=11))) @ sums)
    assert flip_p(by_cluster(column(d), clusters))[0] == pytest.approx((flips >= abs(sums.sum())).mean(), rel=1e-10)


@pytest.mark.parametrize("seed", range(10))
def test_the_flip_p_keeps_its_digits_where_one_prompt_outweighs_all_others(seed):
    rng = np.random.default_rng(seed)
    sizes = np.append(rng.integers(1, 4, size=13), 30)
    total = int(sizes.sum()) - 2 * int(rng.integers(4))
    flips = np.abs(np.array(list(itertools.product((-1, 1), repeat=14))) @ sizes)
    exact = (flips >= total).mean()
    signed = next(s for s in itertools.product((-1, 1), repeat=14) if np.dot(s, sizes) == total) * sizes
    assert flip_p(sums_of(signed))[0] == pytest.approx(exact, rel=1e-10)


def test_prompts_with_one_pair_give_the_sign_test_to_the_last_bit():
    rng = np.random.default_rng(0)
    d = sparse.csr_array(rng.choice([-1, 0, 1], size=(60, 30), p=[0.2, 0.3, 0.5]).astype(np.int8))
    plus, minus = (np.asarray((d == sign).sum(axis=0)).ravel().astype(np.int64) for sign in (1, -1))
    p = flip_p(by_cluster(d, np.arange(60)))
    assert p.tolist() == sign_test(plus, minus).tolist()
    assert p == pytest.approx([stats.binomtest(int(k), int(k + m)).pvalue for k, m in zip(plus, minus, strict=True)])


def test_27_prompts_with_one_and_4_with_two_on_one_side_have_p_of_two_in_2_to_the_31():
    assert flip_p(sums_of([1] * 27 + [2] * 4))[0] == pytest.approx(2.0**-30)


def test_thousands_of_prompts_of_two_sizes_have_the_p_of_the_binomials_that_they_are():
    # 2000 prompts of one pair, one of two: S = B + 2 or B - 2, each half the time; S >= 202
    half = [stats.binom.sf((2000 + 202 - shift) / 2 - 1, 2000, 0.5) for shift in (2, -2)]
    assert flip_p(sums_of([1] * 1100 + [-1] * 900 + [2]))[0] == pytest.approx(sum(half), rel=1e-8)


def by_enumeration(parts, d, pairs):
    """Twice the share of all ways to give the answers of `parts` the feature in which the sum is as large as seen."""
    shares = {
        answer: np.mean([1 if a == answer else -1 for a, b in pairs if answer in (a, b)]) for p in parts for answer in p
    }
    has = {a for (a, _), x in zip(pairs, d, strict=True) if x > 0} | {
        b for (_, b), x in zip(pairs, d, strict=True) if x < 0
    }
    for _ in pairs:
        for (a, b), x in zip(pairs, d, strict=True):
            has |= {a, b} if x == 0 and {a, b} & has else set()
    values = {a: shares[a] - np.mean([shares[b] for b in part]) for part in parts for a in part}
    seen = sum(values[a] for a in has) * np.sign(sum(d))
    draws = [
        [sum(values[a] for a in drawn) for drawn in itertools.combinations(part, len(has & set(part)))]
        for part in parts
    ]
    totals = np.array([sum(one) for one in itertools.product(*draws)]) * np.sign(sum(d))
    return min(1.0, 2 * (totals >= seen - 1e-9).mean())


@pytest.mark.parametrize("holders", [{0, 4, 8}, {0, 4, 9}, {1, 5, 9}, {0, 1, 4, 8, 9}, {1, 2, 3, 5, 6, 7}])
def test_the_exchange_p_bounds_the_share_of_all_exchanges_from_above(holders):
    parts = [range(4), range(4, 8), range(8, 11)]  # the first of each against all others
    pairs = [(part[0], other) for part in parts for other in part[1:]]
    d = np.array([(a in holders) - (b in holders) for a, b in pairs])
    clusters = np.array([a // 4 for a, _ in pairs])
    p = exchange_p(sparse.csc_array(column(d)), clusters, np.array(pairs))[0]
    exact = by_enumeration(parts, d, pairs)
    assert exact - 1e-9 <= p <= 4 * exact


def test_the_exchange_p_of_a_word_in_every_best_answer_of_five_is_two_fifths_to_the_power_of_prompts():
    pairs = np.array([(5 * prompt, 5 * prompt + other) for prompt in range(12) for other in range(1, 5)])
    p = exchange_p(sparse.csc_array(column(np.ones(48))), pairs[:, 0] // 5, pairs)[0]
    assert p == pytest.approx(2 / 5**12, rel=0.01)


def test_pairs_that_share_no_answer_have_no_exchange_and_nor_have_repeated_rows():
    answers = np.arange(40).reshape(-1, 2)
    assert exchange_p(sparse.csc_array(column(np.ones(20))), np.arange(20) // 4, answers)[0] == 0
    assert exchange_p(sparse.csc_array(column(np.ones(20))), np.arange(20) // 2, answers // 4 * 2 + [0, 1])[0] == 0


def test_a_word_that_misses_the_best_of_five_eighteen_times_is_chance():
    """(4/5)^18 = .018 by exchange; by flips of prompts it would be 2^-17, and such words are many."""
    pairs = np.array([(5 * prompt, 5 * prompt + other) for prompt in range(100) for other in range(1, 5)])
    d = column(np.isin(np.arange(400), 4 * np.arange(18)) * -1)
    clusters = pairs[:, 0] // 5
    flips, exchanged = paired_p(d, by_cluster(d, clusters), clusters, pairs, below=ERROR)
    assert flips[0] == pytest.approx(2.0**-17)
    assert exchanged[0] == pytest.approx(2 * 0.8**18, rel=0.01)
    scores = score_features(d, clusters, pairs, length_terms(np.zeros(400)))
    assert scores.q[0] > ERROR


def test_a_feature_is_judged_by_its_own_clusters_whatever_other_features_do():
    rng = np.random.default_rng(1)
    clusters, answers = np.arange(200) // 5, np.arange(400).reshape(-1, 2)
    rare = np.zeros((200, 1), dtype=np.int8)
    rare[::10] = 1
    whole_prompts = np.repeat(rng.choice([-1, 1], size=(40, 50)), 5, axis=0)  # design effect 5
    alone, beside = (
        score_features(sparse.csr_array(np.hstack(parts)), clusters, answers, length_terms(np.zeros(200)))
        for parts in ([rare], [rare, whole_prompts])
    )
    assert alone.q[0] == pytest.approx(2.0**-19)
    assert beside.q[0] == pytest.approx(51 * alone.q[0])
    assert beside.purity_low[0] == alone.purity_low[0]


@pytest.mark.parametrize("seed", range(5))
def test_looking_at_exchanges_only_below_the_error_loses_and_adds_no_feature(seed):
    rng = np.random.default_rng(seed)
    pairs = np.array([(5 * prompt, 5 * prompt + other) for prompt in range(60) for other in range(1, 5)])
    has = rng.random((300, 80)) < np.linspace(0.02, 0.3, 80)
    has[::5, :8] |= rng.random((60, 8)) < 0.4  # eight words of the best
    d = sparse.csr_array(has[pairs[:, 0]].astype(np.int8) - has[pairs[:, 1]])
    clusters = pairs[:, 0] // 5
    q = [
        stats.false_discovery_control(np.maximum(*paired_p(d, by_cluster(d, clusters), clusters, pairs, below=below)))
        for below in (ERROR, 1.0)
    ]
    assert (q[0] <= ERROR).tolist() == (q[1] <= ERROR).tolist()
    assert (q[0] <= ERROR).sum() >= 6


def test_a_word_at_the_end_of_35_chosen_answers_over_31_prompts_is_named():
    texts = [
        [text_of(messages) for messages in (p.pair.prompt, p.pair.chosen, p.pair.rejected)]
        for p in planted.clustered(0)
    ]
    assert 800 < len(texts) < 1000
    by_prompt = {}
    for row, (prompt, *_) in enumerate(texts):
        by_prompt.setdefault(prompt, []).append(row)
    several = [rows for rows in by_prompt.values() if len(rows) > 1][:31]
    for row in [rows[0] for rows in several] + [rows[1] for rows in several[:4]]:
        texts[row][1] += " zebra"
    found = [f for f in separated([make_pair(*text) for text in texts], Validation())[1] if "zebra" in f.feature]
    assert [(f.statistics["chosen_only"], f.statistics["rejected_only"]) for f in found] == [(35, 0)]
    assert found[0].severity in ("warn", "fail")


@pytest.mark.parametrize("seed", range(30))
def test_what_the_screen_of_small_sums_leaves_out_is_never_beyond_chance(seed):
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([rng.integers(1, 6, size=9), rng.integers(1, 40, size=3)])
    flips = np.array(list(itertools.product((-1, 1), repeat=12)))
    small = flips[np.abs(flips @ sizes) <= np.sqrt(np.square(sizes).sum())][:50]
    sums = sparse.csr_array((small * sizes).T.astype(np.float32))
    assert flip_p(sums, below=ERROR).tolist() == [1.0] * len(small)
    assert flip_p(sums).min() >= 3 / 32 > ERROR

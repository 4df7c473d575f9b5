import numpy as np
import pytest
from scipy import stats

from dpo_core.evaluate.intervals import mean_interval, paired, sign_flip_p


def test_all_right_is_not_certain():
    # Clopper-Pearson, 10 of 10 at 95 %: low = 0.025^(1/10) = 0.6915
    assert mean_interval([1.0] * 10) == pytest.approx((1.0, 0.6915, 1.0), abs=1e-4)


def test_repeated_prompts_widen_the_interval():
    draw = np.random.default_rng(1)
    values = np.repeat(draw.normal(size=30), 6)
    alone = mean_interval(list(values))
    clustered = mean_interval(list(values), [str(i // 6) for i in range(180)])
    # six copies of each value carry the information of one: sqrt(6) = 2.45 times as wide
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(6**0.5, rel=0.1)


def test_bootstrap_agrees_with_the_normal_interval_on_plenty_of_data():
    draw = np.random.default_rng(2)
    values = draw.normal(3.0, 2.0, size=2000)
    interval = mean_interval(list(values))
    half = 1.96 * values.std() / 2000**0.5
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def test_paired_items_must_match():
    with pytest.raises(ValueError, match="must match"):
        paired([1.0], [1.0, 0.0], alpha=0.05)


def test_pairing_sees_what_two_separate_means_would_not():
    draw = np.random.default_rng(3)
    hard = draw.normal(0, 10, size=200)
    gain = paired(list(hard + 0.5 + draw.normal(0, 0.1, 200)), list(hard), alpha=0.05)
    assert gain.low > 0.4
    assert gain.p_better < 0.001


@pytest.mark.parametrize("size", [3, 8, 12])
def test_sign_flips_agree_with_scipys_permutation_test(size):
    sums = np.random.default_rng(size).normal(0.3, 1.0, size=size)
    theirs = stats.permutation_test((sums,), np.sum, permutation_type="samples", alternative="greater")
    assert sign_flip_p(sums) == pytest.approx(theirs.pvalue, abs=1e-9)


def test_many_sign_flips_agree_with_the_normal_test():
    sums = np.random.default_rng(4).normal(0.15, 1.0, size=200)
    z = sums.sum() / np.sqrt(np.square(sums).sum())
    assert sign_flip_p(sums) == pytest.approx(stats.norm.sf(z), abs=0.01)


def test_items_that_all_moved_alike_are_mcnemars_exact_test():
    # 9 won, 1 lost: (1 + 10) / 2^10
    assert sign_flip_p(np.array([0.5] * 9 + [-0.5])) == pytest.approx(11 / 1024)
    assert sign_flip_p(np.zeros(5)) == 1.0

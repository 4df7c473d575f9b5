import numpy as np
import pytest

from dpo_core.evaluate.intervals import mean_interval


def test_all_right_is_not_certain():
    # Clopper-Pearson, 10 of 10 at 95 %: low = 0.025^(1/10) = 0.6915
    assert mean_interval([1.0] * 10) == pytest.approx((1.0, 0.6915, 1.0), abs=1e-4)


def test_repeated_prompts_widen_the_interval():
    draw = np.random.default_rng(1)
    values = np.repeat(draw.normal(size=30), 6)
    alone = mean_interval(list(values))
    clustered = mean_interval(list(values), [str(i // 6) for i in range(180)])
    # six copies of each value carry the information of one: sqrt(6) * t(29) / t(179) = 2.54 times as wide
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(2.54, rel=0.1)


def test_of_two_prompts_the_interval_is_that_of_t_with_one_degree_of_freedom():
    # mean 2, CR2 error |3 - 1| / 2 = 1, t(0.975; 1) = 12.706
    assert mean_interval([1.0, 3.0], answers=False) == pytest.approx((2.0, -10.706, 14.706), abs=1e-3)


def test_of_one_prompt_nothing_is_known_but_the_mean():
    assert mean_interval([1.0, 1.0, 0.0, 0.0], ["a"] * 4) == (0.5, 0.0, 1.0)
    assert mean_interval([1.5, 2.5], ["a"] * 2) == (2.0, 2.0, 2.0)


def test_of_few_prompts_that_are_all_alike_both_ends_are_the_mean():
    assert mean_interval([2.0] * 3, answers=False) == (2.0, 2.0, 2.0)


def test_numbers_that_happen_to_be_zero_and_one_are_not_taken_for_answers():
    assert mean_interval([0.0, 1.0] * 10).low > 0 > mean_interval([0.0, 1.0, -1.0] * 7).low
    assert mean_interval([0.0] * 10, answers=False) == (0.0, 0.0, 0.0)


def test_it_agrees_with_the_normal_interval_on_plenty_of_data():
    draw = np.random.default_rng(2)
    values = draw.normal(3.0, 2.0, size=2000)
    interval = mean_interval(list(values))
    half = 1.96 * values.std() / 2000**0.5
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])

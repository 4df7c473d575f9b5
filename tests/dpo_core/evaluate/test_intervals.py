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

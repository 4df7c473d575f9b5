"""How the tests behind the gate behave: never passed too often, p and bound of one mind, wordings no more than items.

Their numbers are compared with others' in test_independent.py.
"""

import numpy as np
import pytest
from scipy import stats

from dpo_core.evaluate import clusters, exact_test
from dpo_core.evaluate.clusters import Groups, bootstrap_t, group
from dpo_core.evaluate.floors import level
from dpo_core.evaluate.paired import difference
from dpo_core.evaluate.score_test import one_score


@pytest.mark.parametrize(
    ("won", "lost", "n"), [(11, 9, 200), (0, 0, 60), (20, 30, 133), (5, 0, 20), (0, 8, 40), (30, 60, 300)]
)
@pytest.mark.parametrize("alpha", [0.05, 0.0046])
@pytest.mark.parametrize("pivot", [-0.1, -0.02, 0.0, 0.013])
def test_the_exact_bound_is_where_p_crosses_alpha_and_on_its_side_of_the_limit(won, lost, n, alpha, pivot):
    low = exact_test.low_bound(won, lost, n, alpha, pivot)
    assert (low >= pivot) == (exact_test.p_value(won, lost, n, pivot) <= alpha)
    if low not in (pivot, -1.0):
        assert exact_test.p_value(won, lost, n, low - exact_test.STEP / 10) <= alpha * 1.02
    if low > -1 and low + exact_test.STEP < (won - lost) / n and low != pivot:
        assert exact_test.p_value(won, lost, n, low + exact_test.STEP) > alpha * 0.98


@pytest.mark.parametrize(("n", "share", "margin"), [(40, 0.1, 0.1), (72, 0.1, 0.05), (40, 0.4, 0.1), (133, 0.02, 0.02)])
def test_the_exact_test_is_never_passed_too_often_by_exact_calculation(n, share, margin):
    """Every outcome's probability at the margin, summed over those that pass: no simulation."""
    w, ell = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    chance = stats.multinomial.pmf(
        np.stack([w, ell, n - w - ell], axis=1), n, [(share - margin) / 2, (share + margin) / 2, 1 - share]
    )
    likely = chance > 1e-7
    passed = [
        exact_test.p_value(int(a), int(b), n, -margin) <= 0.05 for a, b in zip(w[likely], ell[likely], strict=True)
    ]
    assert chance[likely][np.array(passed)].sum() <= 0.05


def uneven(seed=0, count=30):
    draw = np.random.default_rng(seed)
    names = [str(i) for i, size in enumerate(draw.integers(1, 5, count)) for _ in range(size)]
    return draw.normal(0.2, 1, len(names)) + np.array([int(name) % 3 for name in names]), names


def test_the_bootstrap_of_t_is_resampling_whole_groups():
    """Ten thousand resamples drawn and computed one by one have the same quantiles."""
    values, names = uneven(2)
    groups = group(values, names)
    draw, mean, ts = np.random.default_rng(9), groups.mean, []
    for _ in range(10_000):
        pick = draw.integers(0, len(groups.sums), len(groups.sums))
        one = Groups(groups.sums[pick], groups.sizes[pick])
        ts.append((one.mean - mean) / clusters.plain_standard_error(one))
    assert np.quantile(bootstrap_t(groups), [0.05, 0.5, 0.95]) == pytest.approx(
        np.quantile(ts, [0.05, 0.5, 0.95]), abs=0.08
    )


def test_a_bootstrap_in_parts_is_the_same_kind_of_draw(monkeypatch):
    groups = group(*uneven(3))
    whole = bootstrap_t(groups)
    monkeypatch.setattr(clusters, "AT_ONCE", 1000)
    assert np.quantile(bootstrap_t(groups), [0.05, 0.95]) == pytest.approx(np.quantile(whole, [0.05, 0.95]), abs=0.1)


CASES = {
    "right or wrong": (np.array([1.0] * 30 + [0.0] * 70), np.array([0.0] * 20 + [1.0] * 40 + [0.0] * 40), 1, True),
    "many": (np.tile([1.0, 1.0, 0.0], 200), np.tile([1.0, 0.0, 0.0], 200), 1, True),
    "wordings": (np.repeat([1.0, 0.0, 1.0], 40), np.repeat([1.0, 1.0, 0.0, 0.0], 30), 4, True),
    "parts": (np.tile([0.25, 1.0, 0.5, 0.75], 10), np.tile([0.25, 0.5, 0.5, 1.0], 10), 1, True),
    "margins": (np.random.default_rng(4).gamma(0.5, 2, 60), np.ones(60), 2, False),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("alpha", [0.05, 0.0046])
def test_p_is_small_where_the_bound_is_beyond_and_only_there(name, alpha):
    new, old, size, shares = CASES[name]
    test = difference(new, old, [str(i // size) for i in range(len(new))], shares=shares)
    for one in (test, test.mirrored()):
        for limit in np.linspace(-0.3, 0.3, 25):
            assert (one.p(limit) <= alpha) == (one.low(alpha, limit) >= limit)


def test_wordings_that_answer_as_one_are_one_item():
    """40 prompts in 4 wordings, all alike, come to the test of 40 items, with t for z."""
    won = np.repeat([1.0] * 12 + [0.0] * 28, 4)
    lost = np.repeat([0.0] * 12 + [1.0] * 5 + [0.0] * 23, 4)
    test = difference(won, lost, [str(i // 4) for i in range(160)], shares=True)
    assert test.p(-0.05) == pytest.approx(stats.t.sf(one_score(12, 5, 40, -0.05), 39), rel=0.05)


def test_a_floor_of_wordings_that_answer_as_one_counts_prompts():
    values = np.ones(80)
    at = level(values, group(values, [str(i // 4) for i in range(80)]), shares=True)
    assert at.bounds(0.05)[0] == pytest.approx(0.05 ** (1 / 20), abs=0.015)  # 20 of 20

"""The tests behind the gate against published examples, enumeration, dense matrices and scipy."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from dpo_core.evaluate import clusters, exact_test
from dpo_core.evaluate.clusters import Groups, bootstrap_t, group
from dpo_core.evaluate.floors import level
from dpo_core.evaluate.looks import alpha_of_a_look
from dpo_core.evaluate.paired import difference
from dpo_core.evaluate.score_test import lower_bound, one_score, score

Z90, Z95 = stats.norm.ppf(0.95), stats.norm.ppf(0.975)


@pytest.mark.parametrize(
    ("won", "lost", "n", "z", "low", "high"),
    [
        (0, 1, 44, Z90, -0.096, 0.037),  # Tango 1998: contact lenses, 90 %
        (9, 3, 32, Z95, -0.027, 0.390),  # Tango 1998, 95 %
        (1, 7, 21, Z95, -0.517, -0.026),  # Fagerland, Lydersen, Laake 2014: airways, 95 %
    ],
)
def test_the_score_interval_is_that_of_published_examples(won, lost, n, z, low, high):
    assert lower_bound(won, lost, n, z) == pytest.approx(low, abs=5e-4)
    assert -lower_bound(lost, won, n, z) == pytest.approx(high, abs=5e-4)


def likelihood(won, lost, n, delta):
    """Log-likelihood of P(lost), where P(won) is delta more."""
    return lambda q: (
        special.xlogy(won, q + delta) + special.xlogy(lost, q) + special.xlogy(n - won - lost, 1 - 2 * q - delta)
    )


@pytest.mark.parametrize(
    ("won", "lost", "n", "delta"), [(11, 9, 200, -0.02), (3, 14, 72, -0.1), (40, 31, 1000, 0.01), (5, 5, 50, 0.0)]
)
def test_the_score_is_that_of_the_likeliest_share_found_by_search(won, lost, n, delta):
    """An independent way to q: maximise the likelihood numerically instead of by Tango's closed form."""
    loss = likelihood(won, lost, n, delta)
    ends = (max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12)
    q = optimize.minimize_scalar(lambda q: -loss(q), bounds=ends, method="bounded", options={"xatol": 1e-14}).x
    t = (won - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))
    assert one_score(won, lost, n, delta) == pytest.approx(t, abs=1e-6)
    assert float(score(won, lost, n, delta)) == pytest.approx(one_score(won, lost, n, delta), abs=1e-12)


def enumerated(won, lost, n, delta):
    """P of a score as high, maximised over the share that differs: every outcome's multinomial probability, summed."""
    w, ell = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    w, ell = w[w + ell <= n], ell[w + ell <= n]
    t = np.array([one_score(int(a), int(b), n, delta) for a, b in zip(w, ell, strict=True)])
    seen = one_score(won, lost, n, delta)
    inside = t >= seen - 1e-9 * (1 + abs(seen))
    outcomes = np.stack([w, ell, n - w - ell], axis=1)[inside]

    def p(share):
        return stats.multinomial.pmf(outcomes, n, [(share + delta) / 2, (share - delta) / 2, 1 - share]).sum()

    shares = np.linspace(abs(delta) + 1e-9, 1 - 1e-9, 400)
    found = [p(share) for share in shares]
    best = int(np.argmax(found))
    ends = shares[max(best - 1, 0)], shares[min(best + 1, len(shares) - 1)]
    refined = optimize.minimize_scalar(lambda s: -p(s), bounds=ends, method="bounded", options={"xatol": 1e-12})
    return max(found[best], -refined.fun, p(max(abs(delta), 1e-12)))


@pytest.mark.parametrize(
    ("won", "lost", "n", "delta"),
    [(3, 1, 20, -0.1), (0, 1, 44, -0.1), (7, 1, 21, 0.0), (6, 2, 24, 0.05), (2, 4, 24, -0.25), (0, 0, 30, -0.1)],
)
def test_p_is_that_of_enumeration(won, lost, n, delta):
    assert exact_test.p_value(won, lost, n, delta) == pytest.approx(enumerated(won, lost, n, delta), abs=1e-9)


def test_p_where_it_is_known_by_hand():
    # all of n won: the chance is largest where every item differs, 0.5^n; nothing differs: largest at the edge, (1-m)^n
    assert exact_test.p_value(20, 0, 20, 0.0) == pytest.approx(0.5**20, rel=1e-9)
    assert exact_test.p_value(0, 0, 40, -0.02) == pytest.approx(0.98**40, rel=1e-9)
    # 7 against 1 of 21, two-sided: 0.0353, as the exact unconditional McNemar test of the airways example gives it
    assert 2 * exact_test.p_value(7, 1, 21, 0.0) == pytest.approx(0.0353, abs=5e-5)


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


def test_cr2_and_its_degrees_of_freedom_are_those_of_dense_matrices():
    """Bell and McCaffrey 2002 for a regression on a constant, by matrices: A = (I - H)_gg^(-1/2)."""
    values, names = uneven()
    n, member = len(values), np.array(names)
    hat = np.full((n, n), 1 / n)
    residual, variance, columns = values - values.mean(), 0.0, []
    for name in dict.fromkeys(names):
        rows = member == name
        roots, vectors = np.linalg.eigh((np.eye(n) - hat)[np.ix_(rows, rows)])
        adjust = vectors @ np.diag(roots**-0.5) @ vectors.T
        variance += (adjust @ residual[rows]).sum() ** 2 / n**2
        columns.append((np.eye(n) - hat)[:, rows] @ adjust.sum(axis=1) / n)
    gram = np.array(columns) @ np.array(columns).T
    groups = group(values, names)
    assert clusters.standard_error(groups) == pytest.approx(math.sqrt(variance), abs=1e-12)
    assert clusters.degrees_of_freedom(groups) == pytest.approx(np.trace(gram) ** 2 / (gram**2).sum(), abs=1e-9)


def test_one_item_a_group_is_the_t_test():
    values = np.random.default_rng(1).normal(0.2, 1, 40)
    test = difference(values, np.zeros(40), [str(i) for i in range(40)], shares=False)
    theirs = stats.ttest_1samp(values, 0.1, alternative="greater")
    assert test.error == pytest.approx(stats.sem(values), abs=1e-12)
    assert float(special.stdtr(test.freedom, -(test.mean - 0.1) / test.error)) == pytest.approx(
        theirs.pvalue, abs=1e-12
    )
    assert test.p(0.1) >= theirs.pvalue  # the bootstrap of t only makes it more careful


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


def test_floors_are_clopper_and_pearsons():
    # 69 of 72: scipy's one-sided exact bounds
    values = np.array([1.0] * 69 + [0.0] * 3)
    at = level(values, group(values, [str(i) for i in range(72)]), shares=True)
    theirs = stats.binomtest(69, 72)
    low = theirs.proportion_ci(0.9, method="exact").low
    assert at.bounds(0.05)[0] == pytest.approx(low, abs=1e-9)
    assert at.p(0.9) == pytest.approx(stats.binomtest(69, 72, 0.9, alternative="greater").pvalue, abs=1e-9)


def test_a_floor_of_wordings_that_answer_as_one_counts_prompts():
    values = np.ones(80)
    at = level(values, group(values, [str(i // 4) for i in range(80)]), shares=True)
    assert at.bounds(0.05)[0] == pytest.approx(0.05 ** (1 / 20), abs=0.015)  # 20 of 20


@pytest.mark.parametrize(("looks", "alpha"), [(1, 0.1), (52, 0.0046), (416, 0.0010)])
def test_the_alpha_of_a_look_is_dunnetts(looks, alpha):
    found = alpha_of_a_look(0.1, looks)
    z = stats.norm.isf(found)
    density = lambda x: stats.norm.pdf(x) * stats.norm.cdf(x + math.sqrt(2) * z) ** looks  # noqa: E731
    assert integrate.quad(density, -10, 10, epsabs=1e-12)[0] == pytest.approx(0.9, abs=1e-9)
    assert found == pytest.approx(alpha, rel=0.05)


def test_the_alpha_of_three_looks_is_that_of_a_trivariate_normal():
    z = stats.norm.isf(alpha_of_a_look(0.1, 3))
    within = stats.multivariate_normal(np.zeros(3), np.full((3, 3), 0.5) + 0.5 * np.eye(3)).cdf(np.full(3, z))
    assert within == pytest.approx(0.9, abs=1e-4)

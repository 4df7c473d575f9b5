"""The gate's p and bounds to 1e-9: others' code, the definition written out, published tables.

docs/promotion.md says which statistic is checked against what.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from dpo_core.evaluate import clusters, exact_test
from dpo_core.evaluate.clusters import group
from dpo_core.evaluate.floors import level
from dpo_core.evaluate.looks import alpha_of_a_look
from dpo_core.evaluate.paired import difference
from dpo_core.evaluate.score_test import lower_bound, one_score, score

Z90, Z95 = stats.norm.ppf(0.95), stats.norm.ppf(0.975)
SAME = {"rel": 0, "abs": 1e-9}


# Right or wrong, one a prompt: Tango's score.


def pearson(won, lost, n, delta):
    """The score test of P(won) - P(lost) = delta by its definition: signed root of Pearson's chi-square of the three
    counts against the likeliest shares under the hypothesis. The shares are found by bisection, not in closed form."""
    won, lost = (np.asarray(count, dtype=np.float64) for count in (won, lost))
    same = n - won - lost
    low, high = np.full_like(won, max(0.0, -delta)), np.full_like(won, (1 - delta) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(100):
            q = (low + high) / 2
            rises = won / (q + delta) + lost / q - 2 * same / (1 - 2 * q - delta) > 0  # the likelihood, at P(lost) = q
            low, high = np.where(rises, q, low), np.where(rises, high, q)
    expected = n * np.stack([low + delta, low, 1 - 2 * low - delta])
    expected[expected < 1e-12] = 1e-300  # nothing can be there, and nothing is
    found = stats.chisquare(np.stack([won, lost, same]), expected, axis=0).statistic
    return np.copysign(np.sqrt(found), won - lost - n * delta)


def outcomes(n):
    """Every way in which `n` items can be won and lost."""
    w, ell = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    return w[w + ell <= n], ell[w + ell <= n]


@pytest.mark.parametrize("delta", [-0.95, -0.3, -0.1, -0.02, 0.0, 0.013, 0.1, 0.6])
@pytest.mark.parametrize("n", [1, 12, 72, 133])
def test_the_score_of_every_outcome_is_the_root_of_pearsons_chi_square(n, delta):
    w, ell = outcomes(n)
    assert score(w, ell, n, delta) == pytest.approx(pearson(w, ell, n, delta), **SAME)
    assert one_score(w[-1], ell[-1], n, delta) == pytest.approx(float(pearson(w[-1], ell[-1], n, delta)), **SAME)


@pytest.mark.parametrize(("won", "lost", "n"), [(40, 31, 1000), (300, 340, 2000), (11.3, 8.2, 151.7), (0, 3.5, 40.25)])
def test_the_score_of_many_items_and_of_effective_counts_is_too(won, lost, n):
    for delta in (-0.2, -0.02, 0.0, 0.05):
        assert one_score(won, lost, n, delta) == pytest.approx(float(pearson(won, lost, n, delta)), **SAME)


@pytest.mark.parametrize(("won", "lost"), [(40, 31), (300, 240), (120, 119), (600, 1)])
def test_p_of_no_gain_is_mcnemars_by_scipy(won, lost):
    n = 2000
    new, old = np.repeat([1.0, 0.0, 1.0], [won, lost, n - won - lost]), np.repeat([0.0, 1.0], [won, n - won])
    test = difference(new, old, [str(i) for i in range(n)], shares=True)
    assert test.p(0.0) == pytest.approx(stats.chisquare([won, lost]).pvalue / 2, **SAME)


@pytest.mark.parametrize(
    ("won", "lost", "n"), [(0, 1, 44), (9, 3, 32), (1, 7, 21), (0, 8, 40), (31, 60, 2000), (11.3, 8.2, 151.7)]
)
@pytest.mark.parametrize("z", [Z90, Z95, 2.6])
def test_the_score_interval_is_where_that_root_is_z(won, lost, n, z):
    def beyond(delta):
        return float(pearson(won, lost, n, delta)) - z

    low = optimize.brentq(beyond, -1 + 1e-9, (won - lost) / n, xtol=1e-14)
    assert lower_bound(won, lost, n, z) == pytest.approx(low, **SAME)


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


# The exact test ordered by it.


@lru_cache
def enumerated(won, lost, n, delta):
    """P of a score as high, maximised over the share that differs: every outcome's multinomial probability, summed."""
    w, ell = outcomes(n)
    t, seen = pearson(w, ell, n, delta), float(pearson(won, lost, n, delta))
    inside = t >= seen - 1e-9 * (1 + abs(seen))
    counts = np.stack([w, ell, n - w - ell])[:, inside]
    ways = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(axis=0)

    def p(share):
        shares = np.array([(share + delta) / 2, (share - delta) / 2, 1 - share])
        return float(np.exp(ways + special.xlogy(counts, np.maximum(shares, 0)[:, None]).sum(axis=0)).sum())

    shares = np.linspace(abs(delta), 1, 120)
    found = np.array([p(share) for share in shares])
    best = found.max()
    for top in np.argsort(-found)[:3]:
        ends = shares[max(top - 1, 0)], shares[min(top + 1, len(shares) - 1)]
        options = {"xatol": 1e-10}
        best = max(best, -optimize.minimize_scalar(lambda s: -p(s), bounds=ends, method="bounded", options=options).fun)
    return best


@pytest.mark.parametrize(
    ("won", "lost", "n", "delta"),
    [
        *((3, 1, 20, -0.1), (0, 1, 44, -0.1), (7, 1, 21, 0.0), (6, 2, 24, 0.05), (2, 4, 24, -0.25), (0, 0, 30, -0.1)),
        *((12, 9, 72, -0.05), (1, 6, 72, -0.1), (20, 30, 133, -0.02), (9, 0, 133, 0.0), (11, 9, 200, -0.02)),
        (3, 60, 300, -0.2),
    ],
)
def test_p_is_that_of_enumeration(won, lost, n, delta):
    assert exact_test.p_value(won, lost, n, delta) == pytest.approx(enumerated(won, lost, n, delta), **SAME)


def test_p_of_the_most_items_that_are_enumerated_is_too():
    assert exact_test.p_value(40, 31, 500, -0.02) == pytest.approx(enumerated(40, 31, 500, -0.02), **SAME)


@pytest.mark.parametrize(
    ("won", "lost", "n"), [(0, 1, 44), (7, 1, 21), (3, 1, 20), (2, 4, 24), (12, 9, 72), (1, 6, 72), (20, 30, 133)]
)
@pytest.mark.parametrize("alpha", [0.05, 0.0046])
def test_the_exact_bound_is_the_last_step_at_which_enumeration_gives_alpha(won, lost, n, alpha):
    low = exact_test.low_bound(won, lost, n, alpha, -0.999)
    assert low == pytest.approx(round(low / exact_test.STEP) * exact_test.STEP, abs=1e-12)
    assert enumerated(won, lost, n, low) <= alpha < enumerated(won, lost, n, low + exact_test.STEP)


@pytest.mark.parametrize("n", [20, 40, 149, 500])
def test_the_exact_bound_of_no_change_is_known_by_hand(n):
    # nothing differs: p at -m is largest at the edge, (1 - m)^n; so m = 1 - alpha^(1/n), rounded outwards
    margin = math.ceil((1 - 0.05 ** (1 / n)) / exact_test.STEP) * exact_test.STEP
    assert exact_test.low_bound(0, 0, n, 0.05, -0.999) == pytest.approx(-margin, **SAME)


def test_p_where_it_is_known_by_hand():
    # all of n won: the chance is largest where every item differs, 0.5^n; nothing differs: largest at the edge, (1-m)^n
    assert exact_test.p_value(20, 0, 20, 0.0) == pytest.approx(0.5**20, rel=1e-9)
    assert exact_test.p_value(0, 0, 40, -0.02) == pytest.approx(0.98**40, rel=1e-9)
    # 7 against 1 of 21, two-sided: 0.0353, as the exact unconditional McNemar test of the airways example gives it
    assert 2 * exact_test.p_value(7, 1, 21, 0.0) == pytest.approx(0.0353, abs=5e-5)


# Means of groups: CR2, and all that is made of it.


def dense(values, names):
    """Standard error and degrees of freedom of a mean, by matrices: Bell and McCaffrey 2002 for a regression on a
    constant, A = (I - H)_gg^(-1/2)."""
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
    return math.sqrt(variance), np.trace(gram) ** 2 / (gram**2).sum()


def uneven(count=30):
    """Values in groups of one to four."""
    draw = np.random.default_rng(0)
    names = [str(i) for i, size in enumerate(draw.integers(1, 5, count)) for _ in range(size)]
    return draw.normal(0.2, 1, len(names)) + np.array([int(name) % 3 for name in names]), names


def nine_and_three(values):
    """Nine groups of one item and three of three: that of an item drawn by lot has (9 + 27) / 18 = 2."""
    draw = np.random.default_rng(6)
    return draw.choice(values, 18), draw.choice(values, 18), [*"abcdefghi", *"jjjkkklll"]


def with_two_more(values, names, won, lost, size=2):
    return np.append(values, [won] * size + [lost] * size), [*names, *["won"] * size, *["lost"] * size]


def test_cr2_and_its_degrees_of_freedom_are_those_of_dense_matrices():
    values, names = uneven()
    groups = group(values, names)
    assert (clusters.standard_error(groups), clusters.degrees_of_freedom(groups)) == pytest.approx(
        dense(values, names), **SAME
    )


@pytest.mark.parametrize("alpha", [0.05, 0.0046])
def test_shares_are_tested_by_t_with_that_error_and_a_group_won_and_one_lost_more(alpha):
    new, old, names = nine_and_three([0.0, 0.25, 0.5, 0.75, 1.0])
    test, gain = difference(new, old, names, shares=True), new - old
    error, freedom = dense(*with_two_more(gain, names, 1.0, -1.0))[0], dense(gain, names)[1]
    assert test.p(-0.1) == pytest.approx(stats.t.sf((gain.mean() + 0.1) / error, freedom), **SAME)
    assert test.low(alpha, 0.0) == pytest.approx(gain.mean() - stats.t.isf(alpha, freedom) * error, **SAME)


@pytest.mark.parametrize("alpha", [0.05, 0.0046])
def test_wordings_are_tested_by_tangos_score_on_items_divided_by_the_design_effect(alpha):
    new, old, names = nine_and_three([0.0, 1.0])
    test, gain = difference(new, old, names, shares=True), new - old
    n, (error, freedom) = len(gain), dense(gain, names)
    assert clusters.residual_squares(group(gain, names)) == pytest.approx((n * error) ** 2, **SAME)
    effect = min(max(((n * error) ** 2 + 2 * 2**2) / (n * gain.var(ddof=1) + 2 * 2), 1.0), 2.0)
    assert effect > 1
    counts = (gain > 0).sum() / effect, (gain < 0).sum() / effect, n / effect
    assert test.p(-0.1) == pytest.approx(stats.t.sf(float(pearson(*counts, -0.1)), freedom), **SAME)
    t = stats.t.isf(alpha, freedom)
    top = (counts[0] - counts[1]) / counts[2]
    low = optimize.brentq(lambda delta: float(pearson(*counts, delta)) - t, -1 + 1e-9, top, xtol=1e-14)
    assert test.low(alpha, 0.0) == pytest.approx(low, **SAME)


def test_one_item_a_group_is_the_t_test_of_scipy():
    values = np.random.default_rng(1).normal(0.2, 1, 40)
    groups = group(values, [str(i) for i in range(40)])
    theirs = stats.ttest_1samp(values, 0.1, alternative="greater")
    error, freedom = clusters.standard_error(groups), clusters.degrees_of_freedom(groups)
    assert error == pytest.approx(stats.sem(values), **SAME)
    assert special.stdtr(freedom, -(groups.mean - 0.1) / error) == pytest.approx(theirs.pvalue, **SAME)
    low = groups.mean + special.stdtrit(freedom, 0.05) * error
    assert low == pytest.approx(theirs.confidence_interval(0.95).low, **SAME)


def resampled_t(values, names):
    """Efron's t of 4,000 resamples of whole groups, drawn as the program does, one at a time."""
    sums = [values[np.array(names) == name].sum() for name in dict.fromkeys(names)]
    sizes, mean = [names.count(name) for name in dict.fromkeys(names)], values.mean()
    picks = np.random.default_rng(0).integers(0, len(sums), (clusters.RESAMPLES, len(sums)))
    return np.sort([t_of(np.array(sums)[pick], np.array(sizes)[pick], mean) for pick in picks])


def t_of(sums, sizes, mean):
    found = sums.sum() / sizes.sum()
    return (found - mean) / plain_error(sums, sizes)


def plain_error(sums, sizes):
    count, mean = len(sums), sums.sum() / sizes.sum()
    return math.sqrt(((sums - sizes * mean) ** 2).sum() * count / (count - 1)) / sizes.sum()


@pytest.mark.parametrize("alpha", [0.05, 0.0046])
def test_values_without_limits_are_tested_by_t_or_by_resampling_one_group_at_a_time(alpha):
    values, names = uneven()
    values = np.sign(values) * values**2  # skewed: resampling is the more careful one upwards
    test, ts, (error, freedom) = (
        difference(values, np.zeros(len(values)), names, shares=False),
        resampled_t(values, names),
        dense(values, names),
    )
    groups = group(values, names)
    plain = plain_error(groups.sums, groups.sizes)
    for limit in (-0.5, 0.3, 0.6):
        gap = values.mean() - limit
        by_lot = (1 + (ts >= gap / plain).sum()) / (1 + len(ts))
        assert test.p(limit) == pytest.approx(max(stats.t.sf(gap / error, freedom), by_lot), **SAME)
    as_large = int(alpha * (1 + len(ts)))
    bounds = values.mean() - stats.t.isf(alpha, freedom) * error, values.mean() - plain * ts[-as_large]
    assert test.low(alpha, 0.0) == pytest.approx(min(bounds), **SAME)


# One model's own mean, for floors.


@pytest.mark.parametrize(("right", "n"), [(69, 72), (72, 72), (0, 30), (250, 400)])
def test_floors_are_clopper_and_pearsons_by_scipy(right, n):
    values = np.array([1.0] * right + [0.0] * (n - right))
    found, theirs = level(values, group(values, [str(i) for i in range(n)]), shares=True), stats.binomtest(right, n)
    two_sided = theirs.proportion_ci(0.9, method="exact")
    assert found.bounds(0.05) == pytest.approx((two_sided.low, two_sided.high), **SAME)
    assert found.p(0.9) == pytest.approx(stats.binomtest(right, n, 0.9, alternative="greater").pvalue, **SAME)


def test_floors_of_wordings_are_clopper_and_pearsons_on_korn_and_graubards_counts():
    values, _, names = nine_and_three([0.0, 1.0, 1.0])
    n, mean, (error, freedom) = len(values), values.mean(), dense(values, names)
    effect = ((n * error) ** 2 + 2**2 / 2) / (n * mean * (1 - mean) + 2 / 2)
    count = n / min(max(effect, 1.0), 2.0) * (stats.t.isf(0.05, n - 1) / stats.t.isf(0.05, freedom)) ** 2
    right, found = mean * count, level(values, group(values, names), shares=True)
    bounds = stats.beta.ppf(0.05, right, count - right + 1), stats.beta.ppf(0.95, right + 1, count - right)
    assert found.bounds(0.05) == pytest.approx(bounds, **SAME)
    assert found.p(0.6) == pytest.approx(stats.beta.cdf(0.6, right, count - right + 1), **SAME)


# Looks.


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_the_alpha_of_one_look_and_of_two_is_known_in_closed_form(alpha):
    assert alpha_of_a_look(alpha, 1) == pytest.approx(alpha, **SAME)
    z = stats.norm.isf(alpha_of_a_look(alpha, 2))  # two normals that correlate by one half, by Owen's T
    assert stats.norm.cdf(z) - 2 * special.owens_t(z, math.sqrt(1 / 3)) == pytest.approx(1 - alpha, **SAME)


@pytest.mark.parametrize(
    ("alpha", "table"),
    [
        (0.05, [1.64, 1.92, 2.06, 2.16, 2.23, 2.29, 2.34, 2.38, 2.42]),
        (0.01, [2.33, 2.56, 2.68, 2.77, 2.84, 2.89, 2.93, 2.97, 3.00]),
    ],
)
def test_the_alpha_of_up_to_nine_looks_is_that_of_dunnetts_table(alpha, table):
    """Dunnett 1955, tables 1a and 1b, one-sided, infinite degrees of freedom."""
    found = [stats.norm.isf(alpha_of_a_look(alpha, looks)) for looks in range(1, 10)]
    assert found == pytest.approx(table, abs=0.00501)


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

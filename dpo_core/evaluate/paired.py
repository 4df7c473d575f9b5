"""The difference of two models on the same items: which test suits the values, its p, its bounds, its spread.

- right or wrong, one item a group: exact up to 500 items, else Tango's score test;
- right or wrong, several items a group: Tango's test on effective counts. The items count as many as independent ones
  with the variance that CR2 finds between groups (Rao and Scott), z gives way to t with Bell and McCaffrey's degrees of
  freedom;
- other values between 0 and 1: the mean with CR2, with a group all won and one all lost added to its spread;
- values without limits: the mean with CR2 or a bootstrap of t, whichever is the more careful.

p and bound of one test always agree: p <= alpha where the bound is beyond what p was asked about.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import special

from dpo_core.evaluate import clusters as of_groups
from dpo_core.evaluate import exact_test
from dpo_core.evaluate.clusters import Floats, Groups
from dpo_core.evaluate.score_test import lower_bound, one_score


@runtime_checkable
class Difference(Protocol):
    """Challenger - baseline. All is asked upwards: `mirrored` turns it round."""

    mean: float
    error: float  # standard error of the mean, were the two equally good

    def p(self, delta: float) -> float:
        """P of a difference as large as the one seen, were the true one `delta`."""

    def low(self, alpha: float, pivot: float) -> float:
        """The one-sided lower bound; where there is a choice, that on the side of `pivot` on which p is."""

    def mirrored(self) -> "Difference":
        """Baseline - challenger."""


class ExactDifference:
    """Answers won and lost of independent ones; `unit` is what one is worth."""

    def __init__(self, won: int, lost: int, n: int, unit: float) -> None:
        self.won, self.lost, self.n, self.unit = won, lost, n, unit
        self.mean = unit * (won - lost) / n
        self.error = unit * math.sqrt(max(won + lost, 1)) / n

    def p(self, delta: float) -> float:
        """See Difference."""
        if abs(delta) >= self.unit:  # no truth is lower, or higher
            return float(delta > 0)
        return exact_test.p_value(self.won, self.lost, self.n, delta / self.unit)

    def low(self, alpha: float, pivot: float) -> float:
        """See Difference."""
        pivot = min(max(pivot / self.unit, -1.0), 1.0)
        return self.unit * exact_test.low_bound(self.won, self.lost, self.n, alpha, pivot)

    def mirrored(self) -> "ExactDifference":
        """See Difference."""
        return ExactDifference(self.lost, self.won, self.n, self.unit)


class ScoreDifference:
    """The same by Tango's score: of many answers, or of the effective number of clustered ones."""

    def __init__(self, won: float, lost: float, n: float, unit: float, freedom: float = math.inf) -> None:
        self.won, self.lost, self.n, self.unit, self.freedom = won, lost, n, unit, freedom
        self.mean = unit * (won - lost) / n
        self.error = unit * math.sqrt(max(won + lost, 1)) / n

    def p(self, delta: float) -> float:
        """See Difference."""
        if abs(delta) >= self.unit:
            return float(delta > 0)
        return _above(one_score(self.won, self.lost, self.n, delta / self.unit), self.freedom)

    def low(self, alpha: float, pivot: float) -> float:
        """See Difference."""
        return self.unit * lower_bound(self.won, self.lost, self.n, _quantile(alpha, self.freedom))

    def mirrored(self) -> "ScoreDifference":
        """See Difference."""
        return ScoreDifference(self.lost, self.won, self.n, self.unit, self.freedom)


class MeanDifference:
    """The mean over groups: t with CR2; where values have no limits also t by bootstrap, sorted."""

    def __init__(self, mean: float, error: float, freedom: float, bootstrap: tuple[float, Floats] | None) -> None:
        self.mean, self.error, self.freedom, self.bootstrap = mean, error, freedom, bootstrap

    def p(self, delta: float) -> float:
        """See Difference."""
        gap = self.mean - delta
        p = _above(gap / self.error, self.freedom) if self.error else 0.5 ** (self.freedom + 1) if gap > 0 else 1.0
        if self.bootstrap is not None:
            error, t = self.bootstrap
            as_large = len(t) - np.searchsorted(t, gap / error * (1 - 1e-12))
            p = max(p, float(1 + as_large) / (1 + len(t)))
        return p

    def low(self, alpha: float, pivot: float) -> float:
        """See Difference."""
        if not self.error and 0.5 ** (self.freedom + 1) > alpha:  # so few groups that p is above it, wherever they are
            return -math.inf
        low = self.mean - _quantile(alpha, self.freedom) * self.error
        if self.bootstrap is not None:
            error, t = self.bootstrap
            beyond = math.floor(alpha * (1 + len(t)) + 1e-9)  # so many of the resamples may be as large, and one
            low = min(low, self.mean - error * float(t[-beyond]) if beyond else -math.inf)
        return low

    def mirrored(self) -> "MeanDifference":
        """See Difference."""
        turned = (self.bootstrap[0], -self.bootstrap[1][::-1]) if self.bootstrap is not None else None
        return MeanDifference(-self.mean, self.error, self.freedom, turned)


def difference(challenger: Floats, baseline: Floats, clusters: Sequence[str], *, shares: bool) -> Difference:
    """The test that suits the values; `shares`: they can only lie between 0 and 1. Needs two groups."""
    values = challenger - baseline
    groups = of_groups.group(values, clusters)
    unit = _unit(challenger, baseline) if shares else None
    if unit is not None:
        won, lost, n = int((values > 0).sum()), int((values < 0).sum()), len(values)
        if len(groups.sums) == n:
            return (
                ExactDifference(won, lost, n, unit) if n <= exact_test.LARGEST else ScoreDifference(won, lost, n, unit)
            )
        effect = _design_effect(values / unit, Groups(groups.sums / unit, groups.sizes))
        return ScoreDifference(won / effect, lost / effect, n / effect, unit, of_groups.degrees_of_freedom(groups))
    return mean_of(groups, limits=(-1.0, 1.0) if shares else None)


def mean_of(groups: Groups, limits: tuple[float, float] | None) -> MeanDifference:
    """The mean of grouped values that lie within `limits` (None: anywhere)."""
    freedom = of_groups.degrees_of_freedom(groups)
    if limits is not None:
        return MeanDifference(groups.mean, of_groups.standard_error(groups.with_two_more(*limits)), freedom, None)
    error, plain = of_groups.standard_error(groups), of_groups.plain_standard_error(groups)
    if plain <= 1e-12 * abs(groups.mean) or not plain:  # every group moved alike: nothing to resample
        return MeanDifference(groups.mean, 0.0, freedom, None)
    return MeanDifference(groups.mean, error, freedom, (plain, of_groups.bootstrap_t(groups)))


def _unit(challenger: Floats, baseline: Floats) -> float | None:
    """What one answer is worth where each is right or wrong; None where values lie between."""
    if np.isin(challenger, (0.0, 1.0)).all() and np.isin(baseline, (0.0, 1.0)).all():
        return 1.0
    if (baseline == 0.5).all() and np.isin(challenger, (0.0, 0.5, 1.0)).all():
        return 0.5  # the reference ties with itself on every pair
    return None


def _design_effect(values: Floats, groups: Groups) -> float:
    """The mean's variance over that of independent items, with a group all won and one all lost among them."""
    size = groups.usual_size
    between = of_groups.residual_squares(groups) + 2 * size**2
    within = float(np.square(values - values.mean()).sum()) * len(values) / (len(values) - 1) + 2 * size
    return min(max(between / within, 1.0), size)


def _above(t: float, freedom: float) -> float:
    return float(special.ndtr(-t) if math.isinf(freedom) else special.stdtr(freedom, -t))


def _quantile(alpha: float, freedom: float) -> float:
    return float(-special.ndtri(alpha) if math.isinf(freedom) else -special.stdtrit(freedom, alpha))

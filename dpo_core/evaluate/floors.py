"""Bounds of one model's own mean, for floors: Clopper-Pearson, with Korn and Graubard's effective counts for groups.

Korn and Graubard (Surv. Methodol. 1998, 24, 193-201): the items count as many as independent ones with the variance
that CR2 finds between groups. Values without limits: t with CR2, or by bootstrap where that is more careful.
"""

import math
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import special

from dpo_core.evaluate import clusters as of_groups
from dpo_core.evaluate.clusters import Floats, Groups
from dpo_core.evaluate.paired import mean_of

MOST_ANSWERS = 64  # to one question


@runtime_checkable
class Level(Protocol):
    """A model's mean on all items."""

    mean: float

    def p(self, least: float) -> float:
        """P of a mean as high as the one seen, were the true one `least`."""

    def bounds(self, alpha: float) -> tuple[float, float]:
        """One-sided bounds, each wrong in at most `alpha`."""

    def error(self, least: float) -> float:
        """Standard error of the mean, were `least` the true one."""


class Share:
    """`right` of `n` answers; both effective, so not whole, where answers come in groups."""

    def __init__(self, right: float, n: float) -> None:
        self.right, self.n, self.mean = right, n, right / n

    def p(self, least: float) -> float:
        """See Level; no share is below 0, or above 1."""
        if not 0 < least <= 1:
            return float(least > 1)
        return float(special.betainc(self.right, self.n - self.right + 1, least)) if self.right > 0 else 1.0

    def bounds(self, alpha: float) -> tuple[float, float]:
        """See Level."""
        right, wrong = self.right, self.n - self.right
        low = float(special.betaincinv(right, wrong + 1, alpha)) if right > 0 else 0.0
        high = float(special.betaincinv(right + 1, wrong, 1 - alpha)) if wrong > 0 else 1.0
        return low, high

    def error(self, least: float) -> float:
        """See Level."""
        return math.sqrt(max(least * (1 - least), 0.0) / self.n)


class Unlimited:
    """The mean of values that may be anything."""

    def __init__(self, groups: Groups) -> None:
        self.test = mean_of(groups, limits=None)
        self.mean = self.test.mean

    def p(self, least: float) -> float:
        """See Level."""
        return self.test.p(least)

    def bounds(self, alpha: float) -> tuple[float, float]:
        """See Level."""
        return self.test.low(alpha, 0.0), -self.test.mirrored().low(alpha, 0.0)

    def error(self, least: float) -> float:
        """See Level."""
        return self.test.error


def level(values: Floats, groups: Groups, *, shares: bool) -> Level:
    """The mean of `values`, which come in at least two `groups`; `shares`: they lie between 0 and 1."""
    if not shares:
        return Unlimited(groups)
    n, mean, size = len(values), groups.mean, groups.usual_size
    if n == len(groups.sums) and np.isin(values, (0.0, 1.0)).all():
        return Share(float(values.sum()), n)
    between = of_groups.residual_squares(groups) + size**2 / 2  # with a group all right and one all wrong among them
    effect = min(max(between / (n * mean * (1 - mean) + size / 2), 1 / _answers_an_item(values)), size)
    lost = math.pow(_quantile(n - 1) / _quantile(of_groups.degrees_of_freedom(groups)), 2)  # df of the variance
    return Share(mean * n / effect * lost, n / effect * lost)


def _answers_an_item(values: Floats) -> int:
    """Of how many answers each value can be the share that is right: a mean of them varies by less than one answer."""
    return next((k for k in range(1, MOST_ANSWERS + 1) if np.allclose(values * k, np.round(values * k))), 1)


def _quantile(freedom: float) -> float:
    return float(special.stdtrit(freedom, 0.95))

"""Intervals of means over evaluation items that may come in clusters (one prompt, many rows), for reports.

Two-sided ones of the bounds that the gate's floors go by (`floors.py`), so that a report and a verdict agree.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dpo_core.evaluate.clusters import group
from dpo_core.evaluate.floors import level as level_of
from dpo_core.evaluate.paired import MeanDifference, mean_of


class Interval(NamedTuple):
    """A mean with its two-sided 95 % confidence interval."""

    value: float
    low: float
    high: float


def mean_interval(
    values: Sequence[float],
    clusters: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    answers: bool = True,
    shares: bool = False,
) -> Interval:
    """Mean of at least one value; each item is a cluster of its own where none are named.

    `answers`: values of 0, 1 and one half are wrong and right answers and ties, no numbers that happen to be so: their
    interval lies between 0 and 1. `shares`: so does that of all others, such as the share of an item's answers that is
    right. Of a single cluster nothing is known but its mean: both ends are that, or 0 and 1.
    """
    data = np.asarray(values, dtype=float)
    if not len(data):
        raise ValueError("no values: an interval needs at least one")
    names = [str(place) for place in range(len(data))] if clusters is None else clusters
    shares = (answers and bool(np.isin(data, (0.0, 0.5, 1.0)).all())) or (
        shares and bool(((data >= 0) & (data <= 1)).all())
    )
    groups, mean = group(data, names), float(data.mean())
    if len(groups.sums) < 2:
        return Interval(mean, 0.0, 1.0) if shares else Interval(mean, mean, mean)
    low, high = level_of(data, groups, shares=shares).bounds((1 - level) / 2)
    if not (np.isfinite(low) and np.isfinite(high)):  # so few clusters that some resample has no spread
        test = mean_of(groups, limits=None)
        if not test.error:  # all groups have one mean: more is not known of so few
            return Interval(mean, mean, mean)
        plain = MeanDifference(test.mean, test.error, test.freedom, None)
        low, high = plain.low((1 - level) / 2, 0.0), -plain.mirrored().low((1 - level) / 2, 0.0)
    return Interval(mean, low, high)

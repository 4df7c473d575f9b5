"""Intervals of means over evaluation items that may come in clusters (one prompt, many rows), for reports."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 4000
AT_ONCE = 4_000_000  # counts in memory


class Interval(NamedTuple):
    """A mean with its two-sided 95 % confidence interval."""

    value: float
    low: float
    high: float


def mean_interval(
    values: Sequence[float], clusters: Sequence[str] | None = None, *, level: float = 0.95, answers: bool = True
) -> Interval:
    """Mean of at least one value: Clopper-Pearson for independent 0/1 values, else a bootstrap over clusters.

    `answers`: values that are all 0 or 1 are wrong and right answers, no numbers that happen to be so.
    """
    data = np.asarray(values, dtype=float)
    if not len(data):
        raise ValueError("no values: an interval needs at least one")
    independent = clusters is None or len(set(clusters)) == len(data)
    if answers and independent and set(np.unique(data)) <= {0.0, 1.0}:
        ci = stats.binomtest(int(data.sum()), len(data)).proportion_ci(confidence_level=level, method="exact")
        return Interval(float(data.mean()), float(ci.low), float(ci.high))
    means = bootstrap_means(data, clusters)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high))


def bootstrap_means(data: NDArray[np.float64], clusters: Sequence[str] | None = None) -> NDArray[np.float64]:
    """Means of RESAMPLES resamples of whole clusters (seeded); one value a cluster where none are given."""
    names = clusters if clusters is not None else [str(i) for i in range(len(data))]
    _, index = np.unique(np.asarray(names), return_inverse=True)
    sums, sizes = np.bincount(index, weights=data), np.bincount(index)
    generator = np.random.default_rng(0)
    rows = max(1, AT_ONCE // len(sums))
    means = []
    for done in range(0, RESAMPLES, rows):
        picks = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=min(rows, RESAMPLES - done))
        means.append((picks @ sums) / (picks @ sizes))
    return np.concatenate(means)

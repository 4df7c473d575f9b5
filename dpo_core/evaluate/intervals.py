"""Intervals and paired tests for means over evaluation items that may come in clusters (one prompt, many rows)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 4000


class Interval(NamedTuple):
    """A mean with its two-sided 95 % confidence interval."""

    value: float
    low: float
    high: float


def mean_interval(values: Sequence[float], clusters: Sequence[str] | None = None, *, level: float = 0.95) -> Interval:
    """Mean of at least one value: Clopper-Pearson for independent 0/1 values, else a bootstrap over clusters."""
    data = np.asarray(values, dtype=float)
    if not len(data):
        raise ValueError("no values: an interval needs at least one")
    independent = clusters is None or len(set(clusters)) == len(data)
    if independent and set(np.unique(data)) <= {0.0, 1.0}:
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
    picks = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    means: NDArray[np.float64] = (picks @ sums) / (picks @ sizes)
    return means


class Paired(NamedTuple):
    """Difference challenger - baseline of paired items, its one-sided bounds, and p for 'no better'."""

    difference: float
    low: float
    high: float
    p_better: float


def paired(
    challenger: Sequence[float], baseline: Sequence[float], clusters: Sequence[str] | None = None, *, alpha: float
) -> Paired:
    """Compare two models on the same items.

    `low` and `high` are one-sided 1 - alpha bounds. 0/1 items are tested with McNemar's exact test (items that
    only one of the two gets right), others by the bootstrap share of resamples without a gain.
    """
    a, b = np.asarray(challenger, dtype=float), np.asarray(baseline, dtype=float)
    if a.shape != b.shape or not len(a):
        raise ValueError(f"paired items must match: {a.shape} against {b.shape}")
    means = bootstrap_means(a - b, clusters)
    low, high = np.quantile(means, [alpha, 1 - alpha])
    wins, losses = int(((a - b) > 0).sum()), int(((a - b) < 0).sum())
    binary = set(np.unique([a, b])) <= {0.0, 1.0} and (clusters is None or len(set(clusters)) == len(a))
    if binary:
        p = float(stats.binomtest(wins, wins + losses, alternative="greater").pvalue) if wins + losses else 1.0
    else:
        p = float((1 + (means <= 0).sum()) / (1 + len(means)))
    return Paired(float((a - b).mean()), float(low), float(high), p)

"""Intervals and paired tests for means over evaluation items that may come in clusters (one prompt, many rows)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 4000
EXACT = 12  # clusters of which every pattern of signs is tried


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
    """Difference challenger - baseline of paired items, its one-sided bounds, and p for 'no better' and 'no worse'."""

    difference: float
    low: float
    high: float
    p_better: float
    p_worse: float


def paired(
    challenger: Sequence[float], baseline: Sequence[float], clusters: Sequence[str] | None = None, *, alpha: float
) -> Paired:
    """Compare two models on the same items.

    `low` and `high` are one-sided 1 - alpha bounds (bootstrap over clusters); both p are of `sign_flip_p`.
    """
    a, b = np.asarray(challenger, dtype=float), np.asarray(baseline, dtype=float)
    if a.shape != b.shape or not len(a):
        raise ValueError(f"paired items must match: {a.shape} against {b.shape}")
    low, high = np.quantile(bootstrap_means(a - b, clusters), [alpha, 1 - alpha])
    names = clusters if clusters is not None else [str(i) for i in range(len(a))]
    _, index = np.unique(np.asarray(names), return_inverse=True)
    sums = np.bincount(index, weights=a - b).astype(np.float64)
    return Paired(float((a - b).mean()), float(low), float(high), sign_flip_p(sums), sign_flip_p(-sums))


def sign_flip_p(sums: NDArray[np.float64]) -> float:
    """P of a total as large by chance, were each cluster's sum as likely to have the other sign.

    Exact where all sums are of one size (McNemar's test, the sign test) and for up to EXACT clusters, else by RESAMPLES
    random flips. Never below 0.5 to the power of the clusters: two items cannot show anything.
    """
    moved = sums[sums != 0]
    sizes, wins = np.abs(moved), int((moved > 0).sum())
    if not len(moved):
        return 1.0
    if np.allclose(sizes, sizes[0]):
        return float(stats.binom.sf(wins - 1, len(moved), 0.5))
    total = moved.sum() - 1e-9 * sizes.sum()  # sums of the same terms in another order are equal
    if len(moved) <= EXACT:
        signs = 1 - 2 * ((np.arange(1 << len(moved))[:, None] >> np.arange(len(moved))) & 1)
        return float((signs @ sizes >= total).mean())
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(RESAMPLES, len(moved)))
    return float((1 + (signs @ sizes >= total).sum()) / (1 + RESAMPLES))

"""Items that do not count alike, because they have weights or come in clusters (one prompt, many pairs)."""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500


def effective_size(weights: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """As many items as would weigh the same with equal weights (Kish 1965); 0 where nothing weighs anything."""
    return float(np.square(weights.sum()) / max(np.square(weights).sum(), 1e-12))


def bootstrap_interval(values: NDArray[np.float64], clusters: NDArray[np.int64]) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values`, whole clusters drawn with replacement (seeded).

    `clusters`: (N,), the number of each value's cluster, from 0 on without a gap.
    """
    sums, sizes = np.bincount(clusters, weights=values), np.bincount(clusters).astype(np.float64)
    random = np.random.default_rng(1)
    means = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(0, len(sums), size=len(sums)), minlength=len(sums))
        means.append(float(times @ sums / (times @ sizes)))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)

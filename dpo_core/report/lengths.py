"""Lengths of answers, counted into bins: as small for a million pairs as for ten."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 30


def length_bins(chosen: ArrayLike, rejected: ArrayLike, unit: str) -> dict[str, object]:
    """Counts of both sides over common bins of one round width; the last bin holds all that is longer.

    `chosen`, `rejected`: a length each pair. Bin i is edges[i] <= length < edges[i + 1]. `unit` is the plural of what
    was counted. Plain data, for `facts["lengths"]`.
    """
    sides = {"chosen": np.asarray(chosen, dtype=np.int64), "rejected": np.asarray(rejected, dtype=np.int64)}
    both = np.concatenate(list(sides.values()))
    longest, common = (int(both.max()), float(np.quantile(both, 0.99))) if len(both) else (0, 0.0)
    width = _round_width(common / BINS)
    edges = [width * i for i in range(int(common // width) + 2)]
    edges[-1] = max(edges[-1], longest + 1)
    return {
        "unit": unit,
        "edges": edges,
        **{side: np.histogram(lengths, edges)[0].tolist() for side, lengths in sides.items()},
        "median": {side: _median(lengths) for side, lengths in sides.items()},
    }


def _median(lengths: NDArray[np.int64]) -> float:
    return float(np.median(lengths)) if len(lengths) else 0.0


def _round_width(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is no less than `least`."""
    width = 1
    for factor in (2, 2.5, 2) * 12:
        if width >= least:
            break
        width = int(width * factor)
    return width

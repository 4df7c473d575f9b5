"""Means over items that come in groups (one prompt, many answers): CR2 variance, and a bootstrap of t.

CR2 with Bell and McCaffrey's degrees of freedom (Surv. Methodol. 2002, 28, 169-181), here of a mean, where both have a
closed form. The bootstrap is of Efron's t over whole groups: it sees skewed values, which t does not.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 4000
AT_ONCE = 4_000_000  # draws in memory


class Groups(NamedTuple):
    """Sum and number of each group's items."""

    sums: Floats
    sizes: Floats

    @property
    def mean(self) -> float:
        """Over items."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def usual_size(self) -> float:
        """Items of the group of a randomly drawn item: what a mean's variance grows by where groups answer as one."""
        return float(np.square(self.sizes).sum() / self.sizes.sum())

    def with_two_more(self, won: float, lost: float) -> "Groups":
        """The same with a group whose every item has the value `won`, and one of `lost`."""
        size = self.usual_size
        return Groups(np.append(self.sums, [won * size, lost * size]), np.append(self.sizes, [size, size]))


def group(values: Floats, clusters: Sequence[str]) -> Groups:
    """Items by the name of their group, in the order in which the names come."""
    index = places(tuple(clusters))
    sums = np.bincount(index, weights=values).astype(np.float64)
    return Groups(sums, np.bincount(index).astype(np.float64))


@lru_cache(maxsize=16)
def places(clusters: tuple[str, ...]) -> NDArray[np.int64]:
    """The number of each item's group: from 0 on, in the order in which their names come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.int64)


def residual_squares(groups: Groups) -> float:
    """CR2's sum: of each group's residual sum, squared, divided by 1 - its share of the items."""
    residuals = groups.sums - groups.sizes * groups.mean
    return float((np.square(residuals) / (1 - groups.sizes / groups.sizes.sum())).sum())


def standard_error(groups: Groups) -> float:
    """CR2, of the mean over items of at least two groups."""
    return float(np.sqrt(residual_squares(groups)) / groups.sizes.sum())


def degrees_of_freedom(groups: Groups) -> float:
    """Bell and McCaffrey's, for independent items of one variance: groups - 1 where all have one size."""
    share = groups.sizes / groups.sizes.sum()
    cross = np.square(share) / (1 - share)
    return float(1 / (np.square(share).sum() + cross.sum() ** 2 - np.square(cross).sum()))


def bootstrap_t(groups: Groups) -> Floats:
    """Efron's t of resampled groups about the mean seen, sorted: (mean* - mean) / SE*; infinite where SE* is 0."""
    mean = groups.mean
    about = groups.sums - groups.sizes * mean
    columns = np.stack([about, groups.sizes, about**2, about * groups.sizes, groups.sizes**2], axis=1)
    total, size, squares, cross, sizes2 = _resampled(columns).T
    shift = total / size
    spread = np.sqrt(np.maximum(squares - 2 * shift * cross + shift**2 * sizes2, 0)) / size
    with np.errstate(divide="ignore", invalid="ignore"):
        t = shift / (spread * np.sqrt(len(about) / (len(about) - 1)))
    still = spread <= 1e-12 * np.abs(groups.sums).max()
    return np.sort(np.where(still, np.where(np.abs(shift) > 0, np.copysign(np.inf, shift), 0.0), t))


def plain_standard_error(groups: Groups) -> float:
    """What `bootstrap_t` divides by: CR2's where all groups have one size."""
    residuals, count = groups.sums - groups.sizes * groups.mean, len(groups.sums)
    return float(np.sqrt(np.square(residuals).sum() * count / (count - 1)) / groups.sizes.sum())


def _resampled(columns: Floats) -> Floats:
    """Sums of each column over every resample."""
    count = len(columns)
    if RESAMPLES * count <= AT_ONCE:
        return np.asarray(_times_drawn(count) @ columns, dtype=np.float64)
    draw = np.random.default_rng(0)
    rows = max(1, AT_ONCE // count)
    parts = [_draws(draw, min(rows, RESAMPLES - done), count) @ columns for done in range(0, RESAMPLES, rows)]
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _times_drawn(count: int) -> NDArray[np.float64]:
    return _draws(np.random.default_rng(0), RESAMPLES, count)


def _draws(draw: np.random.Generator, rows: int, count: int) -> NDArray[np.float64]:
    """How often each group is in each resample."""
    picks = draw.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
    return np.bincount(picks.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)

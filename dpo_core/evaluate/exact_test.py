"""An exact test for paired 0/1 answers, unconditional, ordered by Tango's score: what up to 500 items can tell.

p is the largest probability, over every share of items in which two models may differ, of a score as high as the one
seen. It is never below the truth, also where few answers change and neither McNemar's test nor an approximation serves.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dpo_core.evaluate.score_test import Floats, lower_bound, one_score, score

Ints = NDArray[np.int64]
LARGEST = 500  # items: above, the score's normal approximation serves
STEP = 1e-4  # bounds are found to this, outwards
POINTS = 2.5  # of the search, in a standard deviation of the share that differs
PEAKS, ROUNDS, INSIDE = 3, 7, 9  # the search goes on around so many, so often, with so many points each
WIDE = 7.5  # standard deviations: what is further out has no weight


class _Grid(NamedTuple):
    """Shares of items that differ, and of each the numbers of such items that it makes likely: a row a share."""

    angles: Floats  # arcsines of the roots: on these the spread is the same everywhere
    differ: Ints  # numbers of items
    weight: Floats  # P of each


class _Region(NamedTuple):
    """Outcomes with a score as high as the one seen: of k items that differ, at least `least[k]` are won."""

    delta: float
    least: Ints


@lru_cache(maxsize=1 << 16)
def p_value(won: int, lost: int, n: int, delta: float) -> float:
    """P of a score as high as that of `won` and `lost` of `n` items, were P(won) - P(lost) `delta` or less."""
    region, grid = _region(won, lost, n, delta), _grid(n, delta)
    found, angles = _probabilities(region, grid), grid.angles
    first, best, width = angles[0], float(found.max()), _whole_grid(n).angles[1]
    for _ in range(ROUNDS):
        around = np.linspace(-width, width, INSIDE)
        angles = np.clip((angles[_peaks(found)][:, None] + around).ravel(), first, np.pi / 2)
        found = _probabilities(region, _around(n, angles))
        best, width = max(best, float(found.max())), around[1] - around[0]
    return min(1.0, best)


@lru_cache(maxsize=1 << 16)
def low_bound(won: int, lost: int, n: int, alpha: float, pivot: float) -> float:
    """A lower bound of d, wrong in at most `alpha`; it lies above `pivot` where `p_value` there is that small."""
    beyond = p_value(won, lost, n, pivot) <= alpha
    first, last = (pivot, (won - lost) / n) if beyond else (-1.0, pivot)
    low = math.ceil(first / STEP - 1e-9)
    high = max(math.ceil(last / STEP - 1e-9), low + 1)
    z, spread = float(special.ndtri(1 - alpha)), math.sqrt(max(won + lost, 1)) / n
    probe, least_move = round(lower_bound(won, lost, n, z) / STEP), 1
    while high - low > 1:  # p <= alpha at `low`, and not at `high`; its normal quantile is nearly straight in d
        probe = probe if low < probe < high else (low + high) // 2
        delta = probe * STEP
        p = float(_probabilities(_region(won, lost, n, delta), _grid(n, delta)).max())
        move = int(np.clip((special.ndtri(1 - min(max(p, 1e-12), 1 - 1e-12)) - z) * spread / STEP, -1e4, 1e4))
        low, high = (probe, high) if p <= alpha else (low, probe)
        probe += max(move, least_move) if p <= alpha else min(move, -least_move)
        least_move *= 2
    while low * STEP > first and p_value(won, lost, n, round(low * STEP, 4)) > alpha:  # the grid alone sees less of p
        low -= 1
    return max(first, round(low * STEP, 4))


@lru_cache(maxsize=16)
def _whole_grid(n: int) -> _Grid:
    return _around(n, np.linspace(0, np.pi / 2, int(POINTS * np.pi * math.sqrt(n)) + 8))


def _grid(n: int, delta: float) -> _Grid:
    """All shares under which d can be `delta`: from its size on."""
    whole, first = _whole_grid(n), math.asin(math.sqrt(min(1.0, abs(delta))))
    rest = int(np.searchsorted(whole.angles, first + 1e-12))
    edge = _around(n, np.array([first]))
    return _Grid(*(np.concatenate([one, many[rest:]]) for one, many in zip(edge, whole, strict=True)))


def _around(n: int, angles: Floats) -> _Grid:
    share = np.sin(angles) ** 2
    width = min(n, int(WIDE * math.sqrt(n)) + 10)
    start = np.clip(np.round(n * share) - width // 2, 0, n - width).astype(np.int64)
    k = start[:, None] + np.arange(width + 1)
    s = np.clip(share, 1e-16, 1 - 1e-16)[:, None]
    return _Grid(angles, k, np.exp(_log_ways(n, k) + k * np.log(s) + (n - k) * np.log1p(-s)))


def _peaks(values: Floats) -> Ints:
    """Where the largest local maxima are."""
    padded = np.concatenate([[-1.0], values, [-1.0]])
    tops = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    chosen: Ints = tops[np.argsort(-values[tops], kind="stable")[:PEAKS]]
    return chosen


def _region(won: int, lost: int, n: int, delta: float) -> _Region:
    """The outcomes, by bisection: among k items that differ the score grows with those won."""
    seen = one_score(won, lost, n, delta)
    seen -= 1e-9 * (1 + abs(seen)) if math.isfinite(seen) else 0.0
    k = np.arange(n + 1)
    low, high = np.zeros(n + 1, dtype=np.int64), k + 1
    while (searching := low < high).any():
        middle = (low + high) // 2
        enough = score(middle, k - middle, n, delta) >= seen
        high = np.where(searching & enough, middle, high)
        low = np.where(searching & ~enough, middle + 1, low)
    return _Region(delta, low)


def _log_ways(n: ArrayLike, k: ArrayLike) -> Floats:
    """Logarithm of the binomial coefficient."""
    n, k = np.asarray(n), np.asarray(k)
    ways: Floats = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return ways


def _probabilities(region: _Region, grid: _Grid) -> Floats:
    """P of the region for each share of items that differ.

    Each of them is won with the same probability r, and P(at least c of k) follows from k to k + 1 by one term of the
    binomial distribution, as c grows by one or by none: a running sum.
    """
    delta, c = region
    share = np.maximum(np.sin(grid.angles) ** 2, 1e-300)
    r = np.clip((1 + delta / share) / 2, 1e-16, 1 - 1e-16)[:, None]
    begin = grid.differ[:, 0]
    least = c[begin]
    start = np.where(least > 0, special.betainc(np.maximum(least, 1), np.maximum(begin - least + 1, 1), r[:, 0]), 1.0)
    start = np.where(least > begin, 0.0, start)
    grows = c[1:] > c[:-1]
    k = np.arange(len(c) - 1)
    hit = c[:-1] - 1 + grows  # c where it grows, c - 1 where it does not
    ways = np.where(hit <= k, _log_ways(k, np.minimum(hit, k)), -np.inf)
    at = grid.differ[:, :-1]
    terms = np.exp(ways[at] + hit[at] * np.log(r) + (k - hit)[at] * np.log1p(-r))
    tail = np.cumsum(np.concatenate([start[:, None], np.where(grows[at], r - 1, r) * terms], axis=1), axis=1)
    return np.asarray((grid.weight * np.clip(tail, 0, 1)).sum(axis=1), dtype=np.float64)

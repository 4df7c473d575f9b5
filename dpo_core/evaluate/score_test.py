"""Tango's score test for paired 0/1 answers (Stat. Med. 1998, 17, 891-908): where n is large, and on effective counts.

A pair of answers is won (only the new model is right), lost or neither; d is P(won) - P(lost).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

Floats = NDArray[np.float64]


def score(won: ArrayLike, lost: ArrayLike, n: ArrayLike, delta: ArrayLike) -> Floats:
    """T = (w - l - n delta) / sqrt(n (2 q + delta (1 - delta))), q: the likeliest P(lost) where d = delta.

    Falls as `delta` grows, rises with `won`. Counts may be fractions: those of clustered answers are effective ones.
    """
    w, ell, n, delta = (np.asarray(x, dtype=np.float64) for x in (won, lost, n, delta))
    b = (2 * n - w + ell) * delta - w - ell
    c = -ell * delta * (1 - delta)
    q = (np.sqrt(np.maximum(b * b - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    gap = w - ell - n * delta
    sure = variance <= 1e-12 * n  # d is all that can be: nothing won nor lost at delta 0, all lost at delta -1
    with np.errstate(invalid="ignore"):
        certain = np.where(np.abs(gap) < 1e-9 * n, 0.0, np.copysign(np.inf, gap))
        return np.where(sure, certain, gap / np.sqrt(np.where(sure, 1.0, variance)))


def one_score(won: float, lost: float, n: float, delta: float) -> float:
    """`score` of one outcome, without arrays."""
    b = (2 * n - won + lost) * delta - won - lost
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance, gap = n * (2 * q + delta * (1 - delta)), won - lost - n * delta
    if variance > 1e-12 * n:
        return gap / math.sqrt(variance)
    return 0.0 if abs(gap) < 1e-9 * n else math.copysign(math.inf, gap)


def lower_bound(won: float, lost: float, n: float, z: float) -> float:
    """The least `delta` whose score is below `z`: what d exceeds, as sure as `z` is large."""
    bottom, top = -1 + 1e-12, (won - lost) / n  # at `top` the score is 0
    if one_score(won, lost, n, bottom) <= z:
        return -1.0
    if top <= bottom or z <= 0:
        return top
    return float(optimize.brentq(lambda delta: one_score(won, lost, n, delta) - z, bottom, top, xtol=1e-13))

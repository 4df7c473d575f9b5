"""Exact p of a sum over clusters (prompts) when each cluster's sign is a coin's.

All pairs of a prompt may depend on each other in any way; what does not matter points to either side as a whole. So a
feature is judged by its own sums within prompts, and by no other feature's. Where no prompt repeats, this is the sign
test.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from dpo_core.quality.stats.sign_tests import Floats, sign_test, signs, squares

REACH = 9.0  # standard deviations from the mean that are laid out; beyond are under 2 exp(-40), by Hoeffding's bound
STEPS = 40  # of Newton, at most
SMALL_SUM = 3 / 32  # p of a sum of its standard deviation, at least


def flip_p(sums: sparse.csr_array, *, below: float = 1.0) -> Floats:
    """Two-sided p of each column of `sums` (clusters, features), integers: P(|sum of +-sums| >= |sum of sums|).

    Only where it may be under `below` is it worked out; else it may be told as 1. A sum that is no larger than its
    standard deviation has a p of 3/32 or more, whatever the sizes of the clusters (Dvořák, van Hintum & Tiba 2020).
    """
    p = sign_test(*signs(sums))
    columns = sparse.csc_array(sums)
    largest = np.zeros(sums.shape[1])
    np.maximum.at(largest, sums.indices, np.abs(sums.data))
    if below <= SMALL_SUM:
        totals = np.bincount(sums.indices, weights=sums.data, minlength=sums.shape[1])
        small = (largest > 1) & (np.square(totals) <= squares(sums))
        p[small], largest[small] = 1.0, 0.0
    for column in np.flatnonzero(largest > 1).tolist():
        mine = columns.data[columns.indptr[column] : columns.indptr[column + 1]].astype(np.int64)
        p[column] = _flip_p(np.abs(mine), abs(int(mine.sum())))
    return p


def _flip_p(sizes: NDArray[np.int64], total: int) -> float:
    """2 P(S >= total), S the sum of `sizes` with the signs of coins.

    The coins are first biased until the mean of S is near `total`, so that its distribution, by a Fourier transform,
    has all its digits however small p is: P(S = v) = P_biased(S = v) exp(K - slope v), where K = log E exp(slope S).
    """
    if total == 0:
        return 1.0
    size, count = np.unique(sizes[sizes > 0], return_counts=True)
    slope = _slope(size, count, total)
    log_mean = float(count @ (slope * size + np.log1p(np.exp(-2 * slope * size)) - math.log(2)))
    most, deviation = int(count @ size), math.sqrt(float(count @ np.square(size)))
    length = fft.next_fast_len(min(2 * most, 2 * math.ceil(REACH * deviation)) + 1, real=True)
    angle = np.outer(2 * np.pi / length * np.arange(length // 2 + 1), size)
    transform = np.exp(np.log(np.cos(angle) - 1j * np.tanh(slope * size) * np.sin(angle)) @ count.astype(np.complex128))
    biased = np.maximum(fft.irfft(transform, length), 0.0)
    above = np.arange(min(most - total, length // 2) + 1)
    tail = float(np.exp(-slope * above) @ biased[(total + above) % length])
    return min(1.0, 2 * math.exp(log_mean - slope * total) * tail)


def _slope(size: NDArray[np.int64], count: NDArray[np.int64], total: int) -> float:
    """The slope at which the mean of S, sum of size tanh(slope size), is `total`, or near it.

    The mean is concave, so Newton's steps from 0 never go too far.
    """
    slope = 0.0
    for _ in range(STEPS):
        tanh = np.tanh(slope * size)
        short = total - float(count @ (size * tanh))
        step = short / max(float(count @ (np.square(size) * (1 - np.square(tanh)))), 1e-9)
        if short < 0.01 or step > 1e3:
            break
        slope += step
    return slope

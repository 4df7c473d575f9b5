"""Paired tests over many features at once.

A feature of pair i is d_i = present(chosen) - present(rejected), in {-1, 0, 1}; pairs with d_i = 0 say nothing.
If the feature has no part in what people chose, +1 and -1 are equally likely, whatever its frequency.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def sign_test(plus: Counts, minus: Counts) -> Floats:
    """Exact two-sided p of Binomial(plus + minus, 1/2), a feature each (McNemar's exact test)."""
    smaller = np.minimum(plus, minus)
    return np.asarray(np.minimum(1.0, 2 * stats.binom.cdf(smaller, plus + minus, 0.5)), dtype=np.float64)


def false_discovery(p: Floats) -> Floats:
    """Benjamini-Hochberg q values."""
    return np.asarray(stats.false_discovery_control(p, method="bh") if len(p) else p, dtype=np.float64)


def purity_lower_bound(larger: Counts, total: Counts, *, confidence: float = 0.95) -> Floats:
    """One-sided Clopper-Pearson lower bound of larger / total; 0 where nothing was seen."""
    with np.errstate(invalid="ignore"):
        bound = stats.beta.ppf(1 - confidence, larger, total - larger + 1)
    return np.asarray(np.where(larger > 0, bound, 0.0), dtype=np.float64)


def by_cluster(d: sparse.csr_array, clusters: Counts) -> sparse.csr_array:
    """Sums of d (pairs, features) within each cluster: (clusters, features)."""
    num_pairs = d.shape[0]
    member = sparse.csr_array(
        (np.ones(num_pairs, dtype=np.float32), (clusters, np.arange(num_pairs))),
        shape=(int(clusters.max(initial=-1)) + 1, num_pairs),
    )
    return sparse.csr_array(member @ d.astype(np.float32))


def signs(d: sparse.csr_array) -> tuple[Counts, Counts]:
    """How many entries of each column are above and below zero."""
    above, below = (np.bincount(d.indices[side], minlength=d.shape[1]) for side in (d.data > 0, d.data < 0))
    return above.astype(np.int64), below.astype(np.int64)


def squares(sums: sparse.csr_array) -> Floats:
    """Sum of squared cluster sums of each feature: the variance of its sum when clusters flip their sign at random."""
    return np.asarray(np.bincount(sums.indices, weights=np.square(sums.data), minlength=sums.shape[1]), np.float64)


def as_independent(plus: Counts, minus: Counts, sums: sparse.csr_array) -> tuple[Counts, Counts]:
    """Counts of pairs divided by their design effect, rounded down: as many as would count if all were independent.

    The design effect of a feature (Rao & Scott 1992) is its sum of squared cluster sums (`by_cluster`) over its
    discordant pairs: 1 if no two pairs share a cluster. For bounds of a share; what is chance says `paired_p`.
    """
    effect = np.maximum(squares(sums) / np.maximum(plus + minus, 1), 1.0)
    return (plus / effect).astype(np.int64), (minus / effect).astype(np.int64)


def family_bound(sums: sparse.csr_array) -> Floats:
    """Upper bound of `family_p` without simulation; close to it wherever pairs are many.

    Hoeffding's 2 exp(-z^2 / 2) for sums of random signs, times the number of features.
    """
    totals = np.bincount(sums.indices, weights=sums.data, minlength=sums.shape[1])
    z_squared = np.square(totals) / np.maximum(squares(sums), 1e-12)
    return np.asarray(np.minimum(1.0, 2 * sums.shape[1] * np.exp(-z_squared / 2)), dtype=np.float64)


def family_p(sums: sparse.csr_array, *, rounds: int = 1000, seed: int = 0, block: int = 16) -> Floats:
    """Westfall-Young max-T p value of each feature: chance of any |z| this large if no feature matters.

    `sums`: (clusters, features) from `by_cluster`; z = sum / sqrt(sum of squared cluster sums). Each round flips the
    sign of every pair of a prompt together, so pairs that share a prompt (or an answer to it) may depend on each
    other in any way, and so may features. `block` rounds are held in memory at once; so few because the signs then
    stay in the processor's cache.
    """
    scale = (1 / np.sqrt(np.maximum(squares(sums), 1e-12))).astype(np.float32)
    columns = sparse.csr_array(sums.T)
    observed = np.abs(columns @ np.ones(sums.shape[0], dtype=np.float32)) * scale
    random = np.random.default_rng(seed)
    largest: list[NDArray[np.float32]] = []
    for start in range(0, rounds, block):
        size = (sums.shape[0], min(block, rounds - start))
        signs = random.integers(0, 2, size=size, dtype=np.int8).astype(np.float32) * 2 - 1
        z = np.abs(columns @ signs) * scale[:, None]
        largest.append(z.max(axis=0, initial=0.0))
    ordered = np.sort(np.concatenate(largest))
    at_least = rounds - np.searchsorted(ordered, observed * (1 - 1e-6), side="left")
    return np.asarray((1 + at_least) / (rounds + 1), dtype=np.float64)


def family_p_or_bound(sums: sparse.csr_array, candidates: NDArray[np.bool_], error: float) -> Floats:
    """Family p of each feature; simulated only where the bound leaves one of the `candidates` open at `error`."""
    bound = family_bound(sums)
    return np.minimum(bound, family_p(sums)) if (candidates & (bound > error)).any() else bound


def log_odds(plus: Counts, minus: Counts, *, prior: float = 100.0) -> Floats:
    """Log-odds with an informative Dirichlet prior (Monroe, Colaresi & Quinn 2008) in standard errors, a feature each.

    `plus` and `minus` are the counts of the two sides; the prior spreads `prior` counts as both sides together do.
    For reading only: it orders features by how typical of a side they are, and knows no clusters.
    """
    both = np.maximum(plus + minus, 1)
    alpha = prior * both / both.sum()
    sides = []
    for counts in (plus, minus):
        seen = counts + alpha
        sides.append((np.log(seen / (counts.sum() + prior - seen + 1e-9)), 1 / seen))
    (left, left_variance), (right, right_variance) = sides
    return np.asarray((left - right) / np.sqrt(left_variance + right_variance), dtype=np.float64)


def least_detectable(num_features: int, *, q: float = 0.01) -> int:
    """Discordant pairs, all on one side, that a sign test among so many features needs: 2m * 2^-n <= q."""
    return math.ceil(math.log2(2 * max(num_features, 1) / q))

"""Whether a feature tells the sides apart beyond what the lengths of the answers already tell.

Score test of one more feature in the logistic model P(chosen wins) = sigma(b1 D + b2 D^3), D the log ratio of lengths;
odd terms and no intercept, because swapping the sides must only change the sign.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

Floats = NDArray[np.float64]
TOLERANCE = 0.2  # share of a feature's variance that the lengths must leave it


def length_terms(log_length: NDArray[np.floating]) -> Floats:
    """(N, 2): D and D^3 in units of D's root mean square, D cut at three of them."""
    d = log_length.astype(np.float64)
    size = np.sqrt(np.mean(np.square(d))) if len(d) else 0.0
    scaled = np.clip(d / size, -3, 3) if size else d
    return np.stack([scaled, scaled**3], axis=1)


def win_probability(terms: Floats) -> Floats:
    """Fitted P(chosen wins) of each pair by its `length_terms`, by Newton steps with a trace of ridge."""
    b = np.zeros(terms.shape[1])
    ridge = 1e-6 * max(len(terms), 1) * np.eye(len(b))
    for _ in range(50):
        p = special.expit(terms @ b)
        step = np.linalg.solve(terms.T @ (terms * (p * (1 - p))[:, None]) + ridge, terms.T @ (1 - p) - ridge @ b)
        b += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(special.expit(terms @ b), dtype=np.float64)


def adjusted_z(d: sparse.csr_array, clusters: NDArray[np.int64], terms: Floats) -> Floats:
    """Score statistic (standard normal by chance) of each column of `d` (pairs, features), given the `length_terms`.

    Its variance is the larger of the model's and that of cluster sums, so pairs of one prompt may depend on each
    other. A feature that goes with the length so closely that the two cannot be told apart (they share more than
    80 % of its variance, as where a planted word is all that makes answers longer) has its plain z.
    """
    p = win_probability(terms)
    weight, residual = p * (1 - p), 1 - p
    values = sparse.csr_array((d.data.astype(np.float64), d.indices, d.indptr), shape=d.shape)
    by_feature = sparse.csr_array(values.T)
    information = terms.T @ (terms * weight[:, None])
    slopes: Floats = np.asarray(by_feature @ (terms * weight[:, None])) @ np.linalg.pinv(information)  # (features, 2)
    score: Floats = np.asarray(by_feature @ residual)
    alone = np.bincount(d.indices, weights=np.repeat(weight, np.diff(d.indptr)), minlength=d.shape[1])
    model = alone - (slopes @ information * slopes).sum(axis=1)
    member = sparse.csr_array(
        (np.ones(len(p)), (clusters, np.arange(len(p)))), shape=(int(clusters.max(initial=-1)) + 1, len(p))
    )
    sums = sparse.csr_array(member @ (sparse.diags_array(residual) @ values))
    by_length: Floats = np.asarray(member @ (terms * residual[:, None]))
    robust = np.bincount(sums.indices, weights=np.square(sums.data), minlength=d.shape[1])
    robust = robust - 2 * (slopes * np.asarray(sparse.csr_array(sums.T) @ by_length)).sum(axis=1)
    robust += (slopes @ (by_length.T @ by_length) * slopes).sum(axis=1)
    z = score / np.sqrt(np.maximum(np.maximum(model, robust), 1e-9))
    return np.asarray(np.where(model >= TOLERANCE * alone, z, _plain(values, member)), dtype=np.float64)


def _plain(values: sparse.csr_array, member: sparse.csr_array) -> Floats:
    """Sum over the root of squared cluster sums."""
    sums = sparse.csr_array(member @ values)
    totals = np.bincount(sums.indices, weights=sums.data, minlength=sums.shape[1])
    variance = np.bincount(sums.indices, weights=np.square(sums.data), minlength=sums.shape[1])
    return np.asarray(totals / np.sqrt(np.maximum(variance, 1e-9)), dtype=np.float64)

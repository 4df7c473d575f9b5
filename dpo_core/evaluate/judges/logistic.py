"""Logistic regression on few rows: finite where the sides separate, and with errors that know of groups."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from dpo_core.evaluate.clusters import Floats, places
from dpo_core.evaluate.intervals import Interval

STEPS, CLOSE = 200, 1e-10


class Fit(NamedTuple):
    """Coefficients (K,) in log-odds, their standard errors (K,), and the degrees of freedom of t."""

    coefficients: Floats
    errors: Floats
    freedom: float

    def interval(self, place: int, level: float = 0.95) -> Interval:
        """Of one coefficient."""
        value, error = float(self.coefficients[place]), float(self.errors[place])
        reach = float(-special.stdtrit(self.freedom, (1 - level) / 2)) * error
        return Interval(value, value - reach, value + reach)


def fit(x: Floats, y: Floats, clusters: Sequence[str]) -> Fit:
    """P(y) = sigmoid(x @ coefficients), by Firth's penalised likelihood (Biometrika 1993, 80, 27-38).

    x: (N, K); y: (N,), from 0 to 1, a half being a tie. An error is the larger one of the model's own and of that over
    groups of rows (sandwich), as the latter is too small on few groups. Needs two groups. ValueError for collinear x.
    """
    beta = np.zeros(x.shape[1])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError("the columns of x are not independent")
    for _ in range(STEPS):
        score, information = _score(x, y, beta)
        step = np.linalg.solve(information, score.sum(axis=0))
        step /= max(1.0, float(np.abs(step).max()))  # far from the end no step is trusted beyond 1
        beta = beta + step
        if np.abs(step).max() < CLOSE:
            break
    score, information = _score(x, y, beta)
    inverse = np.linalg.inv(information)
    groups = places(tuple(clusters))
    count = int(groups.max()) + 1
    sums = np.stack([np.bincount(groups, weights=column) for column in score.T], axis=1)
    sandwich = inverse @ (sums.T @ sums) @ inverse * count / max(count - 1, 1)
    errors = np.sqrt(np.maximum(np.diag(inverse), np.diag(sandwich)))
    return Fit(beta, errors, max(count - x.shape[1], 1))


def _score(x: Floats, y: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Of each row, the penalty's part included (N, K); and Fisher's information (K, K)."""
    p = special.expit(x @ beta)
    weight = p * (1 - p)
    information = (x * weight[:, None]).T @ x
    leverage = weight * np.einsum("nk,kl,nl->n", x, np.linalg.inv(information), x)
    residual = y - p + leverage * (0.5 - p)
    return np.asarray(x * residual[:, None]), np.asarray(information)

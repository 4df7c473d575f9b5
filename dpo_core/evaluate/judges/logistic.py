"""Logistic regression on few rows: finite where the sides separate, with limits that know of groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from dpo_core.evaluate.clusters import Floats, places
from dpo_core.evaluate.intervals import Interval

STEPS, CLOSE = 200, 1e-10
FAR = 2.0**12  # standard errors: no limit lies beyond
COSTLY = 1e3  # twice nats, more than any limit costs


@dataclass(frozen=True)
class Fit:
    """P(y) = sigmoid(x @ coefficients), each of the last three (K,).

    `inflation`: the variance over groups of rows, over that of independent rows.
    """

    x: Floats
    y: Floats
    coefficients: Floats  # log-odds
    errors: Floats  # of independent rows
    inflation: Floats
    freedom: float

    def interval(self, place: int, level: float = 0.95) -> Interval:
        """Of one coefficient, by its profile: Wald's limits are far too wide where the sides nearly separate.

        Twice the penalised log-likelihood that it costs to hold the coefficient at a limit is the square of t's
        quantile, times the inflation where groups answer alike.
        """
        value, unit = float(self.coefficients[place]), float(self.errors[place])
        reach = float(special.stdtrit(self.freedom, (1 + level) / 2)) ** 2 * max(1.0, float(self.inflation[place]))
        most, free = _likelihood(self.x, self.y, self.coefficients), np.arange(len(self.coefficients)) != place

        def beyond(at: float) -> float:
            start = self.coefficients.copy()
            start[place] = at
            try:
                held = _likelihood(self.x, self.y, _maximised(self.x, self.y, start, free))
            except np.linalg.LinAlgError:  # so far out that every row is certain: the penalty has no end there
                held = -np.inf
            return min(2 * (most - held) - reach, COSTLY)

        ends = []
        for side in (-unit, unit):
            far = 1.0
            while far < FAR and beyond(value + far * side) < 0:
                far *= 2
            ends.append(float(optimize.brentq(beyond, value, value + far * side)) if far < FAR else side * np.inf)
        return Interval(value, *ends)


def fit(x: Floats, y: Floats, clusters: Sequence[str]) -> Fit:
    """The regression by Firth's penalised likelihood (Biometrika 1993, 80, 27-38).

    x: (N, K); y: (N,), from 0 to 1, a half being a tie. The variance over groups is the sandwich's. Needs two groups.
    ValueError for columns of x that depend on each other.
    """
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError("the columns of x are not independent")
    beta = _maximised(x, y, np.zeros(x.shape[1]), np.ones(x.shape[1], dtype=np.bool_))
    score, information = _score(x, y, beta)
    inverse = np.linalg.inv(information)
    groups = places(tuple(clusters))
    count = int(groups.max()) + 1
    sums = np.stack([np.bincount(groups, weights=column) for column in score.T], axis=1)
    sandwich = inverse @ (sums.T @ sums) @ inverse * count / max(count - 1, 1)
    variance = np.diag(inverse)
    return Fit(x, y, beta, np.sqrt(variance), np.diag(sandwich) / variance, max(count - x.shape[1], 1))


def _maximised(x: Floats, y: Floats, beta: Floats, free: NDArray[np.bool_]) -> Floats:
    """The best coefficients, of which those that are not free stay as they are."""
    for _ in range(STEPS):
        if not free.any():
            break
        score, information = _score(x, y, beta)
        step = np.linalg.solve(information[np.ix_(free, free)], score.sum(axis=0)[free])
        step /= max(1.0, float(np.abs(step).max()))  # far from the end no step is trusted beyond 1
        beta = beta.copy()
        beta[free] += step
        if np.abs(step).max() < CLOSE:
            break
    return beta


def _likelihood(x: Floats, y: Floats, beta: Floats) -> float:
    """Penalised, in nats."""
    at = x @ beta
    weight = special.expit(at) * special.expit(-at)
    seen = -(y * np.logaddexp(0, -at) + (1 - y) * np.logaddexp(0, at)).sum()
    return float(seen + 0.5 * np.linalg.slogdet((x * weight[:, None]).T @ x)[1])


def _score(x: Floats, y: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Of each row, the penalty's part included (N, K); and Fisher's information (K, K)."""
    p = special.expit(x @ beta)
    weight = p * (1 - p)
    information = (x * weight[:, None]).T @ x
    leverage = weight * np.einsum("nk,kl,nl->n", x, np.linalg.inv(information), x)
    residual = y - p + leverage * (0.5 - p)
    return np.asarray(x * residual[:, None]), np.asarray(information)

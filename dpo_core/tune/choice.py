"""Which of the settings that were tried is recommended: one on a flat optimum before one on a lucky peak.

A trial's `around` is the mean of what was measured near it: every training of the search counts, by how near its
settings are, by the share of the pairs that it saw, and the mean of all counts as one more. A peak that stands alone is
drawn to the mean; one whose neighbours are good as well is not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

NEAR = 0.1  # standard deviation of the weights, in the unit cube of the space
LAST = 8  # eighths: the last rung


@dataclass(frozen=True)
class TriedPoint:
    """One trial: where it lies in the unit cube; by rung the objective of each seed; whether it holds what it must."""

    number: int
    place: tuple[float, ...]
    values: dict[int, tuple[float, ...]]
    feasible: bool

    @property
    def finished(self) -> bool:
        """Whether it saw all pairs."""
        return LAST in self.values


@dataclass(frozen=True)
class Chosen:
    """The recommended trial, the one that measured best, what lies around each that finished, the spread of seeds.

    The spread is None where none was trained with two.
    """

    number: int
    peak: int
    around: dict[int, float]
    spread: float | None


def choose(trials: Sequence[TriedPoint], own: int) -> Chosen | None:
    """None where no trial finished and holds what it must.

    The own settings stay where nothing is better around by more than the spread of seeds.
    """
    finished = [trial for trial in trials if trial.finished and trial.feasible]
    if not finished:
        return None
    around = {trial.number: _around(trial, trials) for trial in finished}
    spread = seed_spread(trials)
    best = max(finished, key=lambda trial: (around[trial.number], -trial.number)).number
    if own in around and around[best] - around[own] <= (spread or 0.0):
        best = own
    peak = max(finished, key=lambda trial: (fmean(trial.values[LAST]), -trial.number)).number
    return Chosen(best, peak, around, spread)


def seed_spread(trials: Sequence[TriedPoint]) -> float | None:
    """Standard deviation between seeds of the same settings, pooled; None where none was trained with two."""
    several = [trial.values[LAST] for trial in trials if len(trial.values.get(LAST, ())) > 1]
    if not several:
        return None
    squares = sum(stdev(values) ** 2 * (len(values) - 1) for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))


def _around(trial: TriedPoint, trials: Sequence[TriedPoint]) -> float:
    offsets = _offsets(trials)
    whole = fmean(value for other in trials for value in other.values.get(LAST, ()))
    total, weights = whole, 1.0
    for other in trials:
        near = math.exp(-(math.dist(trial.place, other.place) ** 2) / (2 * NEAR**2))
        for rung, values in other.values.items():
            weight = near * rung / LAST
            total += weight * sum(value + offsets.get(rung, 0.0) for value in values)
            weights += weight * len(values)
    return total / weights


def _offsets(trials: Sequence[TriedPoint]) -> dict[int, float]:
    """What a rung's values lack to those of the last, by the trials that have both."""
    found: dict[int, list[float]] = {}
    for trial in trials:
        if trial.finished:
            last = fmean(trial.values[LAST])
            for rung, values in trial.values.items():
                found.setdefault(rung, []).append(last - fmean(values))
    return {rung: fmean(gaps) for rung, gaps in found.items()}

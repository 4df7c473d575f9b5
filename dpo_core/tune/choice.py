"""Which of the settings that were tried is recommended: one on a flat optimum before one on a lucky peak.

A trial's `around` is the mean of what was measured near it: every training of the search counts, by how near its
settings are, by the share of the pairs that it saw, and the mean of all counts as one more. A peak that stands alone is
drawn to the mean; one whose neighbours are good as well is not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import special

NEAR = 0.1  # standard deviation of the weights, in the unit cube of the space
LAST = 8  # eighths: the last rung
LEVEL = 0.95


@dataclass(frozen=True)
class TriedPoint:
    """One trial: where it lies in the unit cube; by rung the objective of each seed; whether it holds what it must.

    `by_group`: on the last rung, of each group of alike prompts of the tuning split the sum over its pairs, a mean of
    seeds, and the number of these pairs; empty where it is not known.
    """

    number: int
    place: tuple[float, ...]
    values: dict[int, tuple[float, ...]]
    feasible: bool
    by_group: tuple[tuple[float, int], ...] = ()

    @property
    def finished(self) -> bool:
        """Whether it saw all pairs."""
        return LAST in self.values


@dataclass(frozen=True)
class Chosen:
    """The recommended trial, the one that measured best, what lies around each that finished, and what luck does.

    `spread` of seeds is None where none was trained with two; `half_width`, of the interval of the best one's gain over
    the own settings, where there is no gain, or it is not known.
    """

    number: int
    peak: int
    around: dict[int, float]
    spread: float | None
    half_width: float | None


def choose(trials: Sequence[TriedPoint], own: int) -> Chosen | None:
    """None where no trial finished and holds what it must.

    The own settings stay where nothing is better around by more than the spread of seeds, and than other prompts of the
    same kind would change (a paired interval of 95 %).
    """
    finished = [trial for trial in trials if trial.finished and trial.feasible]
    if not finished:
        return None
    around = {trial.number: _around(trial, trials) for trial in finished}
    spread = seed_spread(trials)
    best = max(finished, key=lambda trial: (around[trial.number], -trial.number))
    first, half_width = next((trial for trial in finished if trial.number == own), best), None
    if first is not best:
        half_width = gain_half_width(best, first)
        if around[best.number] - around[own] <= max(spread or 0.0, half_width or 0.0):
            best = first
    peak = max(finished, key=lambda trial: (fmean(trial.values[LAST]), -trial.number)).number
    return Chosen(best.number, peak, around, spread, half_width)


def gain_half_width(one: TriedPoint, other: TriedPoint) -> float | None:
    """Of the interval of 95 % (t) of a mean gain over the same pairs, which come in groups; None where not known."""
    groups = len(one.by_group)
    if groups < 2 or groups != len(other.by_group):
        return None
    gains = [(a - b, pairs) for (a, pairs), (b, _) in zip(one.by_group, other.by_group, strict=True)]
    total = sum(pairs for _, pairs in gains)
    mean = sum(gain for gain, _ in gains) / total
    squares = sum((gain - pairs * mean) ** 2 for gain, pairs in gains)
    error = math.sqrt(squares * groups / (groups - 1)) / total
    return error * float(special.stdtrit(groups - 1, (1 + LEVEL) / 2))


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

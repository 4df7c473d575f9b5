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
BEYOND = 1.96  # standard errors: other prompts would change a gain by less, in 95 of 100 draws


@dataclass(frozen=True)
class TriedPoint:
    """One trial: where it lies in the unit cube; by rung the objective of each seed; whether it holds what it must.

    `by_prompt`: on the last rung, the mean over seeds for each prompt of the tuning split; empty where it is not known.
    """

    number: int
    place: tuple[float, ...]
    values: dict[int, tuple[float, ...]]
    feasible: bool
    by_prompt: tuple[float, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether it saw all pairs."""
        return LAST in self.values


@dataclass(frozen=True)
class Chosen:
    """The recommended trial, the one that measured best, what lies around each that finished, and what luck does.

    `spread` of seeds is None where none was trained with two; `error`, that of the best one's gain over the own
    settings by the draw of the prompts, where there is no gain, or it is not known.
    """

    number: int
    peak: int
    around: dict[int, float]
    spread: float | None
    error: float | None


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
    first, error = next((trial for trial in finished if trial.number == own), best), None
    if first is not best:
        error = gain_error(best, first)
        if around[best.number] - around[own] <= max(spread or 0.0, BEYOND * (error or 0.0)):
            best = first
    peak = max(finished, key=lambda trial: (fmean(trial.values[LAST]), -trial.number)).number
    return Chosen(best.number, peak, around, spread, error)


def gain_error(one: TriedPoint, other: TriedPoint) -> float | None:
    """Standard error of the difference of two means over the same prompts; None where these are not known."""
    if len(one.by_prompt) < 2 or len(one.by_prompt) != len(other.by_prompt):
        return None
    gains = [a - b for a, b in zip(one.by_prompt, other.by_prompt, strict=True)]
    return stdev(gains) / math.sqrt(len(gains))


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

"""Cohen's kappa of two that judged the same items, with an interval."""

import math
from collections.abc import Sequence

import numpy as np

from dpo_core.evaluate.clusters import Floats, degrees_of_freedom, group, standard_error
from dpo_core.evaluate.intervals import Interval, mean_interval
from dpo_core.evaluate.paired import MeanDifference


def kappa(people: Sequence[str], judge: Sequence[str], clusters: Sequence[str] | None = None) -> Interval:
    """Agreement beyond chance (Cohen 1960), of labels that are only equal or not; NaN where chance explains all.

    The interval is the wider one, at either end, of two: of the mean of kappa's influence values over groups of items
    (the delta method, CR2 and t); and that of the agreement with its chance part held fixed,
    which is exact on few items and does not shrink to a point where all agree.
    """
    value, chance, influence = influences(people, judge)
    if math.isnan(value):
        return Interval(math.nan, math.nan, math.nan)
    same = [float(one == other) for one, other in zip(people, judge, strict=True)]
    share = mean_interval(same, clusters)
    low, high = ((end - chance) / (1 - chance) for end in share[1:])
    groups = group(influence, [str(place) for place in range(len(same))] if clusters is None else clusters)
    if len(groups.sums) > 1 and (error := standard_error(groups)):  # 0: all agree, and the exact share's end holds
        delta = MeanDifference(value, error, degrees_of_freedom(groups), None)
        low, high = min(low, delta.low(0.025, 0.0)), max(high, -delta.mirrored().low(0.025, 0.0))
    return Interval(value, max(low, -1.0), min(high, 1.0))


def influences(people: Sequence[str], judge: Sequence[str]) -> tuple[float, float, Floats]:
    """Kappa, the agreement by chance, and how much each item moves kappa (N,), in kappa's unit; NaN as there."""
    names = sorted({*people, *judge})
    left, right = (np.array([names.index(label) for label in labels]) for labels in (people, judge))
    same = (left == right).astype(np.float64)
    shares = [np.bincount(side, minlength=len(names)) / len(same) for side in (left, right)]
    observed, chance = float(same.mean()), float(shares[0] @ shares[1])
    if chance >= 1 - 1e-12:
        return math.nan, chance, np.zeros(len(same))
    value = (observed - chance) / (1 - chance)
    of_chance = shares[1][left] + shares[0][right] - 2 * chance
    moved = (same - observed) / (1 - chance) - (1 - observed) / (1 - chance) ** 2 * of_chance
    return value, chance, np.asarray(moved, dtype=np.float64)

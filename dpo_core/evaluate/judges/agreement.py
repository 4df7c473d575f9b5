"""Cohen's kappa of two that judged the same items, with an interval."""

from collections.abc import Sequence

import numpy as np

from dpo_core.evaluate.intervals import Interval, mean_interval


def kappa(people: Sequence[str], judge: Sequence[str], clusters: Sequence[str] | None = None) -> Interval:
    """Agreement beyond chance (Cohen 1960), of labels that are only equal or not; NaN where chance explains all.

    The interval is the wider one, at either end, of two: of the mean of kappa's influence values over groups of items
    (the delta method, by the house's interval of a mean); and that of the agreement with its chance part held fixed,
    which is exact on few items and does not shrink to a point where all agree.
    """
    names = sorted({*people, *judge})
    left, right = (np.array([names.index(label) for label in labels]) for labels in (people, judge))
    same = (left == right).astype(float)
    shares = [np.bincount(side, minlength=len(names)) / len(same) for side in (left, right)]
    observed, chance = float(same.mean()), float(shares[0] @ shares[1])
    if chance >= 1 - 1e-12:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = (observed - chance) / (1 - chance)
    of_chance = shares[1][left] + shares[0][right] - 2 * chance
    influence = (same - observed) / (1 - chance) - (1 - observed) / (1 - chance) ** 2 * of_chance
    delta = mean_interval(list(value + influence), clusters, answers=False)
    share = mean_interval(list(same), clusters)
    low, high = ((end - chance) / (1 - chance) for end in share[1:])
    return Interval(value, max(min(delta.low, low), -1.0), min(max(delta.high, high), 1.0))

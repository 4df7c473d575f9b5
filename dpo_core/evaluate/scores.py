"""One model's values on every item of one metric, and whether two models' can be compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluate.clusters import Floats, places
from dpo_core.recipe_release import BREVITY, EQUAL_LENGTH, LENGTH

UPTAKE = "uptake/"  # how the metrics of shortcuts begin
SOUND = "generations/sound"  # the metric of all answers that were generated
UNLIMITED = (
    "rewards/margins",
    "retention/neutral_text",
    "answers/reward",
    LENGTH,
    BREVITY,
)  # also where all values happen to lie between 0 and 1


@dataclass(frozen=True)
class Scores:
    """One metric's value on every item for one model; more is better.

    `clusters` names each item's prompt group, `left_out` counts items that a model was trained on: not among these.
    """

    values: Sequence[float]
    clusters: Sequence[str]
    left_out: int = 0


@dataclass(frozen=True)
class Compared:
    """The same items' values of two models."""

    metric: str
    challenger: Floats
    baseline: Floats
    clusters: Sequence[str]
    groups: int
    left_out: int

    @property
    def items(self) -> int:
        """How many."""
        return len(self.challenger)

    @property
    def finite(self) -> bool:
        """Whether every value of the challenger is a number."""
        return bool(np.isfinite(self.challenger).all())

    @property
    def shares(self) -> bool:
        """Whether the values can only lie between 0 and 1; those of shortcuts do too, but never come near the ends."""
        if self.metric in UNLIMITED or self.metric.startswith(UPTAKE):
            return False
        return all(bool(((side >= 0) & (side <= 1)).all()) for side in (self.challenger, self.baseline))


def compare(metric: str, challenger: Scores | None, baseline: Scores | None) -> Compared | str:
    """The items of both; or in words why they cannot be compared."""
    if challenger is None or baseline is None:
        return "was not measured"
    if not len(challenger.values):
        if left_out := max(challenger.left_out, baseline.left_out):
            return f"was not measured: a model was trained on all {left_out} items"
        uneven = ": to no two prompts that were judged are the new answers longer and shorter by as much"
        return f"was not measured{uneven if metric == EQUAL_LENGTH else ''}"
    if list(challenger.clusters) != list(baseline.clusters) or len(challenger.values) != len(baseline.values):
        return "was not measured on the same items"
    new, old = (np.asarray(scores.values, dtype=np.float64) for scores in (challenger, baseline))
    if len(new) != len(challenger.clusters):
        return "does not name a group for each item"
    if not np.isfinite(old).all():
        return "was not measured: not every value of what it is compared with is a number"
    groups = int(places(tuple(challenger.clusters)).max()) + 1
    return Compared(metric, new, old, challenger.clusters, groups, max(challenger.left_out, baseline.left_out))


def mean(values: Floats) -> float:
    """Exact to the last bit, in whatever order."""
    return math.fsum(values.tolist()) / len(values)

"""Successive halving by pairs seen: a trial trains on an eighth of the pairs, then, if it is good, on twice as many.

Each rung is a training of its own that ends its learning-rate schedule: one that is cut short ranks settings wrongly.
"""

import math
from collections.abc import Sequence

from dpo_core.recipe import Training

RUNGS = (1, 2, 4, 8)  # eighths of the pairs
WHOLE_RUN = RUNGS[-1]


def shortened(training: Training, eighths: int) -> Training:
    """The same settings on so many eighths of the pairs, epochs counted."""
    if eighths == WHOLE_RUN:
        return training
    if training.max_steps is not None:
        return training.model_copy(update={"max_steps": max(1, math.ceil(training.max_steps * eighths / WHOLE_RUN))})
    return training.model_copy(update={"num_train_epochs": training.num_train_epochs * eighths / WHOLE_RUN})


def pairs_seen(training: Training, rows: int) -> int:
    """Pairs that a training takes, each as often as it comes."""
    if training.max_steps is not None:
        return training.max_steps * training.train_batch_size
    return math.ceil(rows * training.num_train_epochs)


def pairs_of_trial(training: Training, rows: int, seeds: int) -> int:
    """Pairs that a trial takes which reaches the last rung."""
    taken = [pairs_seen(shortened(training, eighths), rows) for eighths in RUNGS]
    return sum(taken[:-1]) + seeds * taken[-1]


def goes_on(value: float, others: Sequence[float]) -> bool:
    """Whether a trial is among the better half of those on its rung that hold their limits, itself included."""
    better = sum(other > value for other in others)
    return better < math.ceil((len(others) + 1) / 2)

"""The flight recorder: steps at which loss, gradient norm or drift jump, named with the rows that were in them.

A value jumps where it lies above the median of the WINDOW steps before it by more than TIMES their spread (1.4826 times
the median distance from the median: the standard deviation where noise is normal) and by more than LEAST; the gradient
norm as its logarithm. Medians are robust: one bad step hides no other. It reads what the loop tells, and changes no
weight.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median

from dpo_core.report.documents import JumpedMetric, JumpRecord
from dpo_core.train.loop import Step

WINDOW, FEWEST = 32, 8  # steps before: looked at, needed
TIMES = 8.0
LEAST = {"loss": 0.1, "grad_norm": math.log(2), "displacement": 0.05}  # nats, a factor of 2, nats a token
LOGARITHMIC = ("grad_norm",)  # its noise grows with its size
ROWS = 8  # of a step, those of the largest loss first
MOST = 50  # jumps kept: after so many the training is one


def jumped(history: Sequence[Mapping[str, float]]) -> dict[str, JumpedMetric]:
    """Which of the last step's values jump, against the steps before it."""
    *before, last = history[-WINDOW - 1 :]
    if len(before) < FEWEST:
        return {}
    found = {}
    for name in sorted(LEAST.keys() & last.keys()):  # a loss without reference has no displacement
        *known, now = [_scaled(name, step[name]) for step in (*before, last)]
        usual = median(known)
        spread = 1.4826 * median(abs(value - usual) for value in known)
        if now - usual > max(TIMES * spread, LEAST[name]):
            found[name] = JumpedMetric(value=last[name], usual=median(step[name] for step in before))
    return found


def _scaled(name: str, value: float) -> float:
    return math.log(max(value, 1e-30)) if name in LOGARITHMIC else value


class FlightRecorder:
    """Jumps so far, `known` those of an interrupted training; a jump that goes on step after step is one."""

    def __init__(self, known: Sequence[JumpRecord] = ()) -> None:
        self.jumps = list(known)

    def add(self, step: Step, history: Sequence[Mapping[str, float]]) -> JumpRecord | None:
        """Look at a finished step, the last of `history`; what is new is returned."""
        found = jumped(history)
        if not found or len(self.jumps) >= MOST:
            return None
        if self.jumps and self.jumps[-1].last == step.number - 1:
            self.jumps[-1] = self.jumps[-1].model_copy(update={"last": step.number})
            return None
        rows = sorted(step.rows, key=lambda row: -row.loss)[:ROWS]
        self.jumps.append(
            JumpRecord(step=step.number, last=step.number, metrics=found, pairs=len(step.rows), rows=rows)
        )
        return self.jumps[-1]

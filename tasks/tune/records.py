"""What the tasks of a search hand to each other."""

import math

from pydantic import Field

from dpo_core.records import Record
from dpo_core.tune.space import Axis
from tasks.records import Checked, Plan


class TuningSplit(Record):
    """The training pairs in two: those that trials train on (`rows.train_key`), and those that judge them."""

    rows: Checked = Field(description="of the run, with other rows: no key of it leads to a held-out pair of the gate")
    trained_on: int = Field(description="pairs")
    judged_on: int = Field(description="pairs")
    prompts: int = Field(description="different questions of the pairs that judge")


class Search(Record):
    """A search that was begun: its run, its rows, its study, and what each trial is asked."""

    plan: Plan
    split: TuningSplit
    study: str
    space: dict[str, Axis]
    limits: dict[str, list[float]]
    side_by_side: int = Field(description="trials at a time, by what the machine has room for")

    @property
    def limits_told(self) -> dict[str, list[float | None]]:
        """As JSON has them: null where there is no limit."""
        return {name: [x if math.isfinite(x) else None for x in limit] for name, limit in self.limits.items()}


class TrialMeasures(Record):
    """What one training of a trial came to on the tuning split, against the start model."""

    weights_sha256: str
    steps: int
    pairs: int = Field(description="trained on")
    forwards: int = Field(description="answers that the reference was asked for")
    metrics: dict[str, float]
    judged: str = Field(description="key in the store of the pairs that the figures are of")
    by_group: list[tuple[float, int]] = Field(
        [],
        description="of each group of alike prompts of these pairs: the objective's sum over its pairs, their number",
    )

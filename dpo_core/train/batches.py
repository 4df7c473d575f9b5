"""Which pairs a step trains on: of a fixed set in an order of (seed, epoch), or of whatever gives them as it goes."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch

from dpo_core.data.pairs import Example
from dpo_core.recipe import Training


@runtime_checkable
class Batches(Protocol):
    """The pairs of each optimizer step, numbered from 0. `total`: steps that are planned."""

    total: int

    def at(self, step: int) -> Sequence[Example]:
        """The pairs of a step; asked once, when the steps before it are done. None: the training ends here."""

    def size(self, step: int) -> int:
        """How many pairs a step that is done had."""

    def epoch(self, steps: int) -> float:
        """Passes over the data after so many steps."""

    def told(self, step: int) -> Mapping[str, float]:
        """What else is logged with a step."""

    def kept(self) -> Mapping[str, str]:
        """What a checkpoint keeps of them: text by file name."""


class Fixed:
    """All pairs are there before the first step: the pairs of a step are a function of (seed, step)."""

    def __init__(self, examples: Sequence[Example], training: Training, *, seed: int) -> None:
        self.total = total_steps(len(examples), training)
        self._examples, self._size, self._seed = examples, training.train_batch_size, seed

    def at(self, step: int) -> Sequence[Example]:
        """See Batches."""
        return [self._examples[i] for i in self._indices(step)]

    def size(self, step: int) -> int:
        """See Batches."""
        return len(self._indices(step))

    def epoch(self, steps: int) -> float:
        """See Batches."""
        return steps / math.ceil(len(self._examples) / self._size)

    def told(self, step: int) -> Mapping[str, float]:
        """See Batches."""
        return {}

    def kept(self) -> Mapping[str, str]:
        """See Batches."""
        return {}

    def _indices(self, step: int) -> list[int]:
        return batch_at(step, examples=len(self._examples), batch_size=self._size, seed=self._seed)


def total_steps(examples: int, training: Training) -> int:
    """Optimizer steps of a run; an epoch's last batch may be smaller, a fraction of an epoch rounds up."""
    per_epoch = math.ceil(examples / training.train_batch_size)
    return training.max_steps or max(1, math.ceil(per_epoch * training.num_train_epochs - 1e-9))


def batch_at(step: int, *, examples: int, batch_size: int, seed: int) -> list[int]:
    """Indices of the pairs of 0-based optimizer step `step`: position is the step, order f(seed, epoch)."""
    per_epoch = math.ceil(examples / batch_size)
    epoch, position = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(examples, generator=generator).tolist()
    indices: list[int] = order[position * batch_size : (position + 1) * batch_size]
    return indices

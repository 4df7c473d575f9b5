"""What a step trains on: a fixed set of pairs, a function of (seed, epoch) alone."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Example:
    """One pair, encoded, with its reference log-probs (nats, summed over response tokens, fp64)."""

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    ref_chosen_logps: float
    ref_rejected_logps: float
    sft_weight: float = 1.0
    source: str = ""


def total_steps(examples: int, batch_size: int, epochs: float) -> int:
    """Optimizer steps of a run; an epoch's last batch may be smaller, a fraction of an epoch rounds up."""
    return max(1, math.ceil(math.ceil(examples / batch_size) * epochs - 1e-9))


def batch_at(step: int, *, examples: int, batch_size: int, seed: int) -> list[int]:
    """Indices of the pairs of 0-based optimizer step `step`: position is the step, order f(seed, epoch)."""
    per_epoch = math.ceil(examples / batch_size)
    epoch, position = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(examples, generator=generator).tolist()
    indices: list[int] = order[position * batch_size : (position + 1) * batch_size]
    return indices


def micro_batches(batch: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """A batch in pieces of at most `size` pairs, longest first, so that like lengths are padded together."""
    ordered = sorted(batch, key=lambda e: -len(e.prompt_ids) - max(len(e.chosen_ids), len(e.rejected_ids)))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def write_examples(examples: Sequence[Example], path: Path) -> None:
    """One JSON object a line; floats keep every bit."""
    path.write_text("".join(json.dumps(asdict(example)) + "\n" for example in examples))


def read_examples(path: Path) -> list[Example]:
    """The inverse of `write_examples`."""
    rows: Iterator[dict[str, Any]] = (json.loads(line) for line in path.read_text().splitlines())
    ids = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [Example(**{**row, **{name: tuple(row[name]) for name in ids}}) for row in rows]

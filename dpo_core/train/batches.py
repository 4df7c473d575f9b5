"""What a step trains on: a fixed set of pairs, a function of (seed, epoch) alone."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dpo_core.model.layout import Ids, first_fit_decreasing, row_tokens
from dpo_core.recipe import Training


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
    weight: float = 1.0  # of the whole loss of this pair
    where: str = ""  # file and row, for messages to people


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


def sequences_of(pairs: Sequence[Example]) -> list[tuple[Ids, Ids]]:
    """(prompt ids, response ids), chosen and rejected in turn."""
    return [(e.prompt_ids, answer) for e in pairs for answer in (e.chosen_ids, e.rejected_ids)]


def rows_for(batch: Sequence[Example], tokens: int, *, ranks: int, share: bool) -> list[list[list[Example]]]:
    """The rows of each rank: the pairs of a step packed into rows of at most `tokens` tokens, the ranks evenly loaded.

    With `share`, pairs with the same prompt stay together as far as a row has room for them.
    """
    clusters: dict[object, list[list[Example]]] = {}
    for number, pair in enumerate(batch):
        found = clusters.setdefault(pair.prompt_ids if share else number, [[]])
        if found[-1] and row_tokens(sequences_of([*found[-1], pair]), share=share) > tokens:
            found.append([])
        found[-1].append(pair)
    units = [unit for parts in clusters.values() for unit in parts]
    sizes = [row_tokens(sequences_of(unit), share=share) for unit in units]
    bins = first_fit_decreasing(sizes, min(tokens, math.ceil(sum(sizes) / ranks)))
    shares: list[list[list[Example]]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for members in sorted(bins, key=lambda members: -sum(sizes[i] for i in members)):
        rank = loads.index(min(loads))
        shares[rank].append([pair for i in sorted(members) for pair in units[i]])
        loads[rank] += sum(sizes[i] for i in members)
    return shares


def write_examples(examples: Sequence[Example], path: Path) -> None:
    """One JSON object a line; floats keep every bit."""
    path.write_text("".join(json.dumps(asdict(example)) + "\n" for example in examples))


def read_examples(path: Path) -> list[Example]:
    """The inverse of `write_examples`."""
    rows: Iterator[dict[str, Any]] = (json.loads(line) for line in path.read_text().splitlines())
    ids = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [Example(**{**row, **{name: tuple(row[name]) for name in ids}}) for row in rows]

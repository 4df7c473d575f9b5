"""Which token goes where: a prompt once, its responses after it, groups of them packed into rows without padding."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

Ids = Sequence[int]


class Segment(NamedTuple):
    """Tokens [start, stop) of a row see the prompt [prompt, prompt + shared) and, causally, each other."""

    start: int
    stop: int
    prompt: int
    shared: int


@dataclass(frozen=True, eq=False)
class Layout:
    """S responses in one row of T tokens, their H response tokens in order of the responses.

    The last token of a response is a target but no input, as nothing follows it. The last token of a prompt
    predicts the first token of each of its responses: its row is in `head_rows` once for each.
    """

    input_ids: Int[Tensor, "1 T"]
    position_ids: Int[Tensor, "1 T"]
    head_rows: Int[Tensor, " H"]
    targets: Int[Tensor, " H"]
    owner: Int[Tensor, " H"]  # the response a target belongs to
    segments: tuple[Segment, ...]  # in order of the row, without gaps
    windows: dict[int, int | None] = field(default_factory=dict)  # window of each attention module that used this

    @property
    def lengths(self) -> list[int]:
        """Tokens of each response."""
        return self.owner.bincount().tolist()

    def to(self, device: torch.device) -> "Layout":
        """The same on another device."""
        names = ("input_ids", "position_ids", "head_rows", "targets", "owner")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def lay_out(sequences: Sequence[tuple[Ids, Ids]], *, share: bool) -> Layout:
    """One row of (prompt ids, response ids); with `share`, responses to equal prompts follow one copy of it."""
    groups: dict[object, list[int]] = {}
    for number, (prompt, _) in enumerate(sequences):
        groups.setdefault(tuple(prompt) if share else number, []).append(number)
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    rows: list[list[int]] = [[] for _ in sequences]
    for members in groups.values():
        prompt = sequences[members[0]][0]
        origin = len(ids)
        ids += prompt
        positions += range(len(prompt))
        longest_first = sorted(members, key=lambda i: -len(sequences[i][1]))
        for number in longest_first:
            start = len(ids)
            ids += sequences[number][1][:-1]
            positions += range(len(prompt), len(prompt) + len(ids) - start)
            rows[number] = [origin + len(prompt) - 1, *range(start, len(ids))]
            if number == longest_first[0]:  # rides with the prompt
                segments.append(Segment(origin, len(ids), origin, 0))
            elif len(ids) > start:
                segments.append(Segment(start, len(ids), origin, len(prompt)))
    responses = [response for _, response in sequences]
    return Layout(
        torch.tensor([ids]),
        torch.tensor([positions]),
        torch.tensor([row for found in rows for row in found]),
        torch.tensor([token for response in responses for token in response]),
        torch.tensor([number for number, response in enumerate(responses) for _ in response]),
        tuple(segments),
    )


def row_tokens(sequences: Sequence[tuple[Ids, Ids]], *, share: bool) -> int:
    """The length of the row that `lay_out` would make."""
    prompts = {tuple(prompt) for prompt, _ in sequences} if share else [prompt for prompt, _ in sequences]
    return sum(map(len, prompts)) + sum(len(response) - 1 for _, response in sequences)


def first_fit_decreasing(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in bins of at most `budget`; what is larger gets a bin of its own."""
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        place = next((b for b, free in enumerate(room) if sizes[index] <= free), None)
        if place is None:
            bins.append([])
            room.append(budget)
            place = len(bins) - 1
        bins[place].append(index)
        room[place] -= sizes[index]
    return bins


def at_least_fp32(tensor: Tensor) -> Tensor:
    """bf16 as fp32, fp64 as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

"""Which token goes where: rows without padding, in which what several texts begin with stands once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dpo_core.data.pairs import common_prefix

Ids = Sequence[int]
Span = tuple[int, int]  # tokens [start, stop) of a row
WORTH = (
    4096  # n tokens share a beginning of at least n * n / WORTH tokens: below, their attention costs more than it saves
)


class Segment(NamedTuple):
    """Tokens [start, stop) of a row: they see the spans `seen`, in order the beginning of their text, then each other.

    Each sees, of its own segment, the tokens up to itself.
    """

    start: int
    stop: int
    seen: tuple[Span, ...]


class Parts(NamedTuple):
    """A row cut wherever a segment or a span begins or ends: the pieces' lengths, and those that a segment sees."""

    sizes: list[int]
    of_segment: list[list[int]]


class Lines(NamedTuple):
    """Segments as lines of queries and of keys (`keys` gathers them from the row), and where each line ends."""

    keys: Int[Tensor, " K"]
    query_ends: Int[Tensor, " N"]
    key_ends: Int[Tensor, " N"]
    longest_query: int
    longest_key: int


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
    lengths: list[int]  # tokens of each response
    segments: tuple[Segment, ...]  # in order of the row, without gaps
    windows: dict[int, int | None] = field(default_factory=dict)  # window of each attention module that used this
    masks: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)  # by attention, for all its layers

    @cached_property
    def parts(self) -> Parts:
        """The pieces that `Segment.seen` and the segments themselves are made of."""
        spans = [(*segment.seen, (segment.start, segment.stop)) for segment in self.segments]
        cuts = sorted({edge for found in spans for span in found for edge in span})
        number = {cut: i for i, cut in enumerate(cuts)}
        pieces = [[i for start, stop in found for i in range(number[start], number[stop])] for found in spans]
        return Parts([stop - start for start, stop in pairwise(cuts)], pieces)

    @cached_property
    def lines(self) -> Lines:
        """What the one-kernel attention of CUDA wants to know, on the device of the row."""
        seen = [[i for span in (*s.seen, (s.start, s.stop)) for i in range(*span)] for s in self.segments]
        counts = [s.stop - s.start for s in self.segments], [len(rows) for rows in seen]
        device = self.input_ids.device
        ends = [torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device) for lengths in counts]
        index = torch.tensor([i for rows in seen for i in rows], device=device)
        return Lines(index, ends[0], ends[1], max(counts[0]), max(counts[1]))

    def to(self, device: torch.device) -> "Layout":
        """The same on another device."""
        names = ("input_ids", "position_ids", "head_rows", "targets", "owner")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in names}
        return replace(self, **moved, masks={})


def lay_out(sequences: Sequence[tuple[Ids, Ids]], *, share: bool) -> Layout:
    """One row of (prompt ids, response ids).

    With `share`, what texts begin with stands once: a prompt for its answers, a system prompt for all that have it.
    """
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    rows: list[list[int]] = [[] for _ in sequences]
    path: list[int] = []  # the rows of the text laid out last
    for number, shared in _walk(sequences, share=share):
        prompt, response = sequences[number]
        start, text = len(ids), [*prompt, *response[:-1]]
        ids += text[shared:]
        positions += range(shared, len(text))
        if len(ids) > start:
            segments.append(Segment(start, len(ids), _spans(path[:shared])))
        path = [*path[:shared], *range(start, len(ids))]
        rows[number] = path[len(prompt) - 1 :]
    responses = [response for _, response in sequences]
    return Layout(
        torch.tensor([ids]),
        torch.tensor([positions]),
        torch.tensor([row for found in rows for row in found]),
        torch.tensor([token for response in responses for token in response]),
        torch.tensor([number for number, response in enumerate(responses) for _ in response]),
        [len(response) for response in responses],
        tuple(segments),
    )


def row_tokens(sequences: Sequence[tuple[Ids, Ids]], *, share: bool) -> int:
    """The length of the row that `lay_out` would make."""
    texts = sum(len(prompt) + len(response) - 1 for prompt, response in sequences)
    return texts - sum(shared for _, shared in _walk(sequences, share=share))


def _walk(sequences: Sequence[tuple[Ids, Ids]], *, share: bool) -> Iterator[tuple[int, int]]:
    """Each sequence's index, in the order of the row, and how many tokens it begins with of the one before it.

    Sorted, texts with the same beginning are neighbours; the longest response comes first, right behind its prompt.
    """
    if not share:
        yield from ((number, 0) for number in range(len(sequences)))
        return
    keys = [(tuple(prompt), -len(response), tuple(response)) for prompt, response in sequences]
    before: tuple[int, ...] = ()
    for number in sorted(range(len(sequences)), key=keys.__getitem__):
        prompt, _, response = keys[number]
        text = prompt + response[:-1]
        shared = common_prefix(before, text)
        yield number, shared if (len(text) - shared) ** 2 <= WORTH * shared else 0
        before = text


def _spans(rows: Sequence[int]) -> tuple[Span, ...]:
    """Ascending numbers as spans without gaps."""
    if not rows:
        return ()
    breaks = [i for i, (a, b) in enumerate(pairwise(rows), 1) if b != a + 1]
    return tuple((rows[i], rows[j - 1] + 1) for i, j in pairwise([0, *breaks, len(rows)]))


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


def padded_lines(layout: Layout) -> tuple[Int[Tensor, "S W"], Bool[Tensor, "S W"]]:
    """The texts of a layout that shares nothing, padded on the right, and which of their tokens predict a target.

    No real position of a causal model sees a pad, so no mask is needed.
    """
    ids, rows = layout.input_ids[0], layout.head_rows.split(layout.lengths)
    lines = [ids[segment.start : segment.stop] for segment in layout.segments]
    wanted = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.bool, device=ids.device)
    for line, tokens, response in zip(wanted, lines, rows, strict=True):
        line[len(tokens) - len(response) : len(tokens)] = True
    return torch.nn.utils.rnn.pad_sequence(lines, batch_first=True), wanted


def sequence_sums(values: Float[Tensor, " H"], owner: Int[Tensor, " H"], sequences: int) -> Float[Tensor, " S"]:
    """Sum per sequence in fp64: fp32 sums of a few hundred tokens are off by 1e-3."""
    return torch.zeros(sequences, dtype=torch.float64, device=values.device).index_add(0, owner, values.double())


def at_least_fp32(tensor: Tensor) -> Tensor:
    """bf16 as fp32, fp64 as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

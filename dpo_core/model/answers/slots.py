"""A model that makes many answers at once: prompts computed together, then one token a step for each answer in work."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from dpo_core.model.answers.decoding import Effort, Ids
from dpo_core.model.answers.pool import NAME, Advance, Pool, Prompts
from dpo_core.model.answers.products import onednn_products
from dpo_core.model.attention import segment_attention
from dpo_core.model.layout import lay_out

BYTES = 2**31  # of keys and values on the CPU
SHARE = 0.5  # of what is free on a GPU


@dataclass(frozen=True, eq=False)
class Computed:
    """Prompts that were computed together: keys and values, places of each prompt's tokens, logits of what follows."""

    prompts: Prompts
    places: list[list[int]]
    logits: Float[Tensor, "P V"]


class Beginning(NamedTuple):
    """A prompt of a Computed that an answer is to be made to."""

    computed: Computed
    number: int

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return len(self.computed.places[self.number])


class Slots:
    """Rows of answers: `compute` prompts, let an answer to one `enter`, `step` all by a token each, let some `leave`.

    Rows are numbered without gaps: those that leave are replaced by the last ones. `budget`: most tokens that rows
    times their longest may be, from memory; known once the first prompts are computed.
    """

    def __init__(self, model: PreTrainedModel, counts: Effort | None = None, *, memory: int | None = None) -> None:
        self.model, self.counts = model, counts or Effort()
        self.lengths: list[int] = []  # tokens of each row whose keys are in the pool
        self.budget = 0
        self._device = next(model.parameters()).device
        self._memory = memory
        self._pool = Pool()
        self._like: Prompts | None = None

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Inside, the model attends as the other methods need it; afterwards as before."""
        with torch.no_grad(), segment_attention(self.model, NAME), onednn_products(self.model):
            yield

    def compute(self, prompts: Sequence[Ids]) -> Computed:
        """Different prompts, in one row in which what several begin with stands once."""
        layout = lay_out([(ids, (0,)) for ids in prompts], share=True).to(self._device)
        work = Prompts(layout)
        ends = {segment.stop - 1: segment for segment in layout.segments}
        heads = layout.head_rows.tolist()
        spans = [(*ends[row].seen, ends[row][:2]) for row in heads]
        places = [[place for span in found for place in range(*span)] for found in spans]
        logits = self._forward(layout.input_ids, layout.position_ids, work, layout.head_rows)[0]
        self.counts.prompts += len(prompts)
        self.counts.prompt_tokens += layout.input_ids.shape[1]
        if self._like is None:
            self._like = work
            self.budget = max(1, self._bytes() // max(1, work.bytes_a_token))
        return Computed(work, places, logits)

    def enter(self, entries: Sequence[Beginning]) -> None:
        """New rows behind the others, with the prompts' keys and values. All entries are of one Computed."""
        computed, used = entries[0].computed, len(self.lengths)
        lengths = [entry.length for entry in entries]
        longest = max(lengths)
        rows = used + len(entries)
        self._fit(rows, max([*self.lengths, longest]) + 1)
        places = [computed.places[entry.number] for entry in entries]
        padded = torch.tensor([found + found[-1:] * (longest - len(found)) for found in places], device=self._device)
        self._pool.enter(computed.prompts, padded, torch.arange(used, rows, device=self._device))
        self.lengths += lengths

    def step(self, tokens: Sequence[int]) -> Float[Tensor, "B V"]:
        """Logits of what follows when each row goes on with one token."""
        self._fit(len(tokens), max(self.lengths) + 1)
        work = Advance(self._pool, self.lengths, self._device)
        inputs = torch.tensor(tokens, device=self._device)[:, None]
        logits = self._forward(inputs, work.positions[:, None], work, 1)
        self.lengths = [length + 1 for length in self.lengths]
        self.counts.steps += 1
        self.counts.decoded += len(tokens)
        return logits[:, -1]

    def leave(self, rows: Sequence[int]) -> list[int]:
        """Free these rows. Returns which row each place holds now, by its number before."""
        gone = set(rows)
        order = list(range(len(self.lengths)))
        left = len(order) - len(gone)
        holes = [row for row in sorted(gone) if row < left]
        movers = [row for row in range(left, len(order)) if row not in gone]
        if holes:
            self._pool.move(movers, holes, max(self.lengths[row] for row in movers))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        self.lengths = [self.lengths[row] for row in order[:left]]
        return order[:left]

    def _fit(self, rows: int, capacity: int) -> None:
        assert self._like is not None
        self._pool.fit(rows, capacity, kept=len(self.lengths), budget=self.budget, like=self._like)

    def _forward(self, ids: Tensor, positions: Tensor, work: Prompts | Advance, keep: Tensor | int) -> Tensor:
        options: dict[str, Any] = {"work": work, "logits_to_keep": keep, "use_cache": False}
        logits: Tensor = self.model(input_ids=ids, position_ids=positions, **options).logits
        return logits

    def _bytes(self) -> int:
        if self._memory is not None:
            return self._memory
        return int(torch.cuda.mem_get_info(self._device)[0] * SHARE) if self._device.type == "cuda" else BYTES

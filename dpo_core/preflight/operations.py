"""What a training has to compute: its rows as the loop will make them, and their operations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from dpo_core.data.pairs import Example
from dpo_core.model.layout import lay_out
from dpo_core.model.logprobs import decoder_of, plain_model
from dpo_core.preflight.memory import Row
from dpo_core.recipe import Training
from dpo_core.train.batches import batch_at
from dpo_core.train.loop import rows_for, sequences_of

MOST = 64  # steps that are laid out; more are judged by these


class Operations(NamedTuple):
    """Of some rows: tokens laid out, and floating-point operations of a forward pass, in the layers and in the head."""

    tokens: int
    layers: float
    head: float

    def plus(self, other: "Operations") -> "Operations":
        """Both."""
        return Operations(self.tokens + other.tokens, self.layers + other.layers, self.head + other.head)


NOTHING = Operations(0, 0.0, 0.0)


@dataclass(frozen=True)
class Costs:
    """Operations of a model: of its layers a token and a pair (token, token that it sees), of its head a target."""

    token: float
    seen: float
    target: float
    layers: int

    @classmethod
    def of(cls, model: torch.nn.Module) -> "Costs":
        """From shapes alone: the model may be on the meta device."""
        config = plain_model(model).config.get_text_config()
        decoder = decoder_of(model) or model
        embeddings = {id(plain_model(model).get_input_embeddings().weight)}
        weights = sum(p.numel() for p in decoder.parameters() if p.dim() > 1 and id(p) not in embeddings)
        heads, layers = config.num_attention_heads, config.num_hidden_layers
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(2.0 * weights, 4.0 * layers * heads * size, 2.0 * config.hidden_size * config.vocab_size, layers)

    def row(self, row: Row, *, share: bool) -> Operations:
        """Of a row of texts: what they begin with counts once where it is shared."""
        layout = lay_out(row, share=share)
        own = [(stop - start, sum(b - a for a, b in seen)) for start, stop, seen in layout.segments]
        pairs = sum(n * before + n * (n + 1) / 2 for n, before in own)
        tokens = layout.input_ids.shape[1]
        return Operations(tokens, self.token * tokens + self.seen * pairs, self.target * len(layout.targets))

    def rows(self, rows: Sequence[Row], *, share: bool) -> Operations:
        """Of several."""
        total = NOTHING
        for row in rows:
            total = total.plus(self.row(row, share=share))
        return total


def steps_of(
    pairs: int, training: Training, seed: int, *, most: int = MOST, first: int | None = None
) -> list[list[int]]:
    """The pairs of some steps of the first epoch, evenly spaced, all of them where they are few; or of the `first`."""
    size = training.train_batch_size
    number = math.ceil(pairs / size)
    if training.max_steps is not None:
        number = min(number, training.max_steps)
    chosen = range(number) if number <= most else sorted({round(i * (number - 1) / (most - 1)) for i in range(most)})
    return [batch_at(s, examples=pairs, batch_size=size, seed=seed) for s in (range(first) if first else chosen)]


def rows_of_step(batch: Sequence[Example], training: Training, *, ranks: int, share: bool) -> list[list[Row]]:
    """The rows of each rank."""
    shares = rows_for(batch, training.tokens_per_row, ranks=ranks, share=share)
    return [[sequences_of([batch[place] for place in places]) for places in rows] for rows in shares]

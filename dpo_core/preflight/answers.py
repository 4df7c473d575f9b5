"""Answers to the evaluation's prompts: how many steps they take, what one costs here, and their keys and values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from dpo_core.model.answers.continuous import PROMPT_TOKENS
from dpo_core.model.answers.pool import ROUND
from dpo_core.model.answers.slots import BYTES, Beginning, Slots
from dpo_core.model.layout import Ids
from dpo_core.model.logprobs import plain_model
from dpo_core.preflight.operations import Costs
from dpo_core.preflight.speed import Clock, layer_counts

SPARE = 1.25  # rows and tokens that the pool makes room for, over those that are there
STEPS = 6  # that are timed


@dataclass(frozen=True)
class Asking:
    """Prompts, the longest answer in tokens, how many are in work at once at most, and the answers to each prompt."""

    prompts: Sequence[Ids]
    max_new_tokens: int
    width: int
    each: int = 1

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its answer."""
        return max(map(len, self.prompts), default=0) + self.max_new_tokens

    @property
    def longest_pair(self) -> list[tuple[Ids, Ids]]:
        """Two different answers to the longest prompt, as long as may be."""
        prompt = max(self.prompts, key=len, default=())
        return [(prompt, (token,) * self.max_new_tokens) for token in range(2)]

    @property
    def answers(self) -> int:
        """To all prompts."""
        return self.each * len(self.prompts)

    @property
    def tokens(self) -> int:
        """Of all prompts."""
        return sum(map(len, self.prompts))

    def rows(self, token_bytes: int) -> int:
        """In work at once: the memory of keys and values may hold fewer than `width`."""
        fitting = max(1, BYTES // token_bytes // max(1, self.longest) - 1)
        return max(1, min(self.width, self.answers, fitting))

    def steps(self, token_bytes: int) -> int:
        """Were every answer as long as may be."""
        return -(-self.answers // self.rows(token_bytes)) * self.max_new_tokens


def token_bytes(model: torch.nn.Module, dtype: str) -> int:
    """Of the keys and values of a token, in all layers; the model may be on the meta device."""
    config: Any = plain_model(model).config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * (2 if dtype == "bfloat16" else 4))


def answers_bytes(model: torch.nn.Module, asked: Asking, dtype: str) -> int:
    """Beside the weights: the pool of keys and values, those of the prompts, and logits with what is made of them."""
    if not asked.prompts:
        return 0
    each = token_bytes(model, dtype)
    rows = asked.rows(each)
    capacity = -(-int(SPARE * (asked.longest + 1)) // ROUND) * ROUND
    pool = min(BYTES, int(SPARE * rows) * capacity * each)
    vocabulary: int = plain_model(model).config.get_text_config().vocab_size
    prompts = max(1, PROMPT_TOKENS * len(asked.prompts) // max(1, asked.tokens))
    return pool + PROMPT_TOKENS * each + 4 * vocabulary * (prompts + 2 * rows)


@torch.no_grad()
def answer_step_seconds(
    build: Callable[[int], PreTrainedModel],
    asked: Asking,
    costs: Costs,
    *,
    dtype: str,
    device: torch.device,
    clock: Clock,
) -> float:
    """Of a token more for each answer in work, from models of few layers."""
    counts, found = layer_counts(costs), []
    for count in counts:
        model = build(count).to(device)  # type: ignore[arg-type]
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            found.append(_seconds(Slots(model), asked, clock))
    if len(counts) == 1:
        return found[0]
    layer = max(0.0, (found[1] - found[0]) / (counts[1] - counts[0]))
    return max(0.0, found[0] - counts[0] * layer) + costs.layers * layer


def _seconds(slots: Slots, asked: Asking, clock: Clock) -> float:
    """A step in the middle of the answers; the first warms up."""
    with slots.at_work():
        computed = slots.compute(list(dict.fromkeys(map(tuple, asked.prompts))))
        places = len(computed.places)
        slots.enter([Beginning(computed, i % places) for i in range(asked.width)])
        began = 0.0
        for number in range(1 + STEPS):
            if number == 1:
                began = clock()
            slots.step([0] * asked.width).argmax(-1).tolist()
        return (clock() - began) / STEPS

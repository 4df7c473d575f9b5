"""Greedy answers to chat prompts, in batches of similar length. How is decided here, not by the model's folder."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.data.pairs import Message
from dpo_core.model.chat_template import ChatTemplate
from dpo_core.model.encode import encode_prompt
from dpo_core.model.stops import stop_tokens


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
    day: str | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> list[str]:
    """One answer a prompt, in the order given, decoded greedily without special tokens. `day`: see ChatTemplate."""
    template = ChatTemplate(tokenizer, day)
    encoded = [encode_prompt(prompt, tokenizer, template=template) for prompt in prompts]
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: (len(encoded[i]), i))
    decoding = greedy(model, tokenizer, max_new_tokens=max_new_tokens)
    pad, stops = decoding.pad_token_id, frozenset(decoding.eos_token_id)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        width = max(len(encoded[i]) for i in indices)
        input_ids = torch.tensor([[pad] * (width - len(encoded[i])) + encoded[i] for i in indices])
        mask = torch.tensor([[0] * (width - len(encoded[i])) + [1] * len(encoded[i]) for i in indices])
        output: Any = cast(Any, model).generate(
            input_ids=input_ids.to(model.device), attention_mask=mask.to(model.device), generation_config=decoding
        )
        rows = [_until(stops, row) for row in output[:, width:].tolist()]
        for index, text in zip(indices, tokenizer.batch_decode(rows, skip_special_tokens=True), strict=True):
            answers[index] = text.strip()
        progress(len(indices))
    return answers


def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, max_new_tokens: int) -> GenerationConfig:
    """The likeliest token each time, until one of the stop tokens.

    What this leaves open, `generate` takes from the model's own generation config: `load_model` leaves only ends there.
    """
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_tokens(model.generation_config.eos_token_id, tokenizer),
        pad_token_id=pad,
    )


def _until(stops: frozenset[int], ids: list[int]) -> list[int]:
    """What stands before the first stop token: not every tokenizer calls its end of turn special."""
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]

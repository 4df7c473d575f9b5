"""Greedy answers to chat prompts, in batches of similar length."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.data.pairs import Message
from dpo_core.model.chat_template import ChatTemplate
from dpo_core.model.encode import encode_prompt


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
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        width = max(len(encoded[i]) for i in indices)
        input_ids = torch.tensor([[pad] * (width - len(encoded[i])) + encoded[i] for i in indices])
        mask = torch.tensor([[0] * (width - len(encoded[i])) + [1] * len(encoded[i]) for i in indices])
        output: Any = cast(Any, model).generate(
            input_ids=input_ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=tokenizer.eos_token_id,
        )
        for index, text in zip(
            indices, tokenizer.batch_decode(output[:, width:], skip_special_tokens=True), strict=True
        ):
            answers[index] = text.strip()
        progress(len(indices))
    return answers

"""Pairs to token ids: chat template, prompt boundary, one end-of-turn token, length limit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dpo_core.data.pairs import EncodedPair, Message, Pair
from dpo_core.errors import InputError
from dpo_core.recipe import Encoding


@dataclass(frozen=True)
class EncodeResult:
    """What became of each pair.

    `statistics` counts pairs: `boundary_merges` (the tokenizer joined the end of the prompt with the start of an
    answer, so the prompt was cut back to the last common token), `prompts_cut`, `over_length`.
    """

    encoded: list[EncodedPair]
    rejected: list[tuple[Pair, str]]
    statistics: dict[str, int]


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; InputError where it has none or cannot end a turn."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"no tokenizer can be loaded: {reason}",
            where=str(folder),
            do="save the model's tokenizer beside its weights",
        ) from None
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer has no end-of-turn token (eos_token)",
            where=str(folder),
            do="set eos_token in tokenizer_config.json",
        )
    return tokenizer


def encode_pairs(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, encoding: Encoding) -> EncodeResult:
    """Encode every pair, setting aside those that do not fit `encoding.max_length` tokens.

    A response is never cut. Raises InputError where messages meet a tokenizer without a chat template.
    """
    encoded: list[EncodedPair] = []
    rejected: list[tuple[Pair, str]] = []
    counts: Counter[str] = Counter(boundary_merges=0, prompts_cut=0, over_length=0)
    for pair in pairs:
        try:
            prompt, chosen, rejected_ids, merged = _split(pair, tokenizer)
        except TemplateError as error:
            rejected.append((pair, f"the chat template refuses it: {error}"))
            continue
        counts["boundary_merges"] += merged
        if not prompt:
            rejected.append((pair, "the prompt has no token of its own: the tokenizer joins it with both answers"))
            continue
        answer = max(len(chosen), len(rejected_ids))
        excess = len(prompt) + answer - encoding.max_length
        if excess > 0 and encoding.overlong == "cut_prompt" and excess < len(prompt):
            prompt = prompt[excess:]
            counts["prompts_cut"] += 1
        elif excess > 0:
            counts["over_length"] += 1
            rejected.append((pair, _too_long(len(prompt), answer, encoding)))
            continue
        encoded.append(EncodedPair(pair, tuple(prompt), tuple(chosen), tuple(rejected_ids)))
    return EncodeResult(encoded, rejected, dict(counts))


def encode_prompt(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, tools: Sequence[Mapping[str, Any]] = ()
) -> list[int]:
    """The ids a model continues with its own answer. Special tokens written in a message or a tool stay text."""
    return _render(messages, tokenizer, tools, add_generation_prompt=True)


def _too_long(prompt: int, answer: int, encoding: Encoding) -> str:
    return (
        f"over-length: prompt {prompt} + longer answer {answer} tokens exceed encoding.max_length {encoding.max_length}"
    )


def _split(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int], list[int], bool]:
    """Prompt ids, both responses' ids, and whether the tokenizer merged across the boundary."""
    if pair.plain:
        start = tokenizer(pair.prompt[0]["content"], split_special_tokens=True)["input_ids"]
        sides = [
            tokenizer(pair.prompt[0]["content"] + side[0]["content"], split_special_tokens=True)["input_ids"]
            for side in (pair.chosen, pair.rejected)
        ]
    else:
        start = encode_prompt(pair.prompt, tokenizer, pair.tools)
        sides = [_render([*pair.prompt, *side], tokenizer, pair.tools) for side in (pair.chosen, pair.rejected)]
    shared = min(_common_prefix(start, side) for side in sides)
    chosen, rejected = (_end_turn(side[shared:], tokenizer) for side in sides)
    return start[:shared], chosen, rejected, shared < len(start)


def _render(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[Mapping[str, Any]] = (),
    **options: Any,
) -> list[int]:
    if not tokenizer.chat_template:
        raise InputError(
            "the pairs are chat messages, but the tokenizer has no chat template",
            where=str(tokenizer.name_or_path),
            do="use the instruct variant of the model, add chat_template.jinja to its folder, or give plain-text pairs",
        )
    conversation: list[Any] = [dict(message) for message in messages]
    offered: list[Any] | None = [dict(tool) for tool in tools] or None
    ids = tokenizer.apply_chat_template(
        conversation, tools=offered, return_dict=False, sanitize_control_tokens=True, **options
    )
    return cast(list[int], ids)


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    length = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    return min(len(left), len(right)) if length is None else length


def _end_turn(response: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Exactly one end-of-turn token at the end: templates may put white space after it, or leave it out."""
    special = set(tokenizer.all_special_ids)
    body = list(response)
    while body and body[-1] not in special and not str(tokenizer.decode(body[-1:])).strip():
        body.pop()
    if body and body[-1] in special:
        return body
    return [*response, tokenizer.eos_token_id]

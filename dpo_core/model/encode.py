"""Pairs to token ids: chat template, prompt boundary, one end-of-turn token, length limit."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dpo_core.data.pairs import EncodedPair, Message, Pair, common_prefix
from dpo_core.errors import InputError
from dpo_core.model.remote_code import require_no_other_code
from dpo_core.recipe import Encoding

BATCH = 256  # pairs rendered at once


class PairIds(NamedTuple):
    """Ids of the prompt alone, and of the prompt with either answer."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True)
class EncodeResult:
    """What became of each pair.

    `statistics` counts pairs: `boundary_merges` (the tokenizer joined the end of the prompt with the start of an
    answer, so the prompt was cut back to the last common token), `prompts_cut`, `over_length`.
    """

    encoded: list[EncodedPair]
    rejected: list[tuple[Pair, str]]
    statistics: dict[str, int]


def load_tokenizer(folder: str | Path, *, trusted_code: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; InputError where it has none or cannot end a turn.

    Code of the model's own runs only if `trusted_code` is its digest.
    """
    if trusted_code is not None:
        require_no_other_code(Path(folder), trusted_code)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trusted_code is not None)
    except Exception as error:  # of any kind, for a tokenizer's files are somebody else's
        reason = (str(error).splitlines() or [type(error).__name__])[0]
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
    special = frozenset(tokenizer.all_special_ids)
    for pair, texts in _rendered(pairs, tokenizer):
        if isinstance(texts, TemplateError):
            rejected.append((pair, f"the chat template refuses it: {texts}"))
            continue
        prompt, chosen, rejected_ids, merged = _split(texts, tokenizer, special)
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


def _rendered(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Pair, PairIds | TemplateError]]:
    """Each pair with its texts; BATCH at once, as most of a call's cost is not its text's."""
    marks = _marks(tokenizer)
    for first in range(0, len(pairs), BATCH):
        batch = pairs[first : first + BATCH]
        try:
            texts: list[PairIds | TemplateError] = [*_texts(batch, tokenizer, marks)]
        except TemplateError:
            texts = [_texts_alone(pair, tokenizer, marks) for pair in batch]
        yield from zip(batch, texts, strict=True)


def _texts(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, marks: re.Pattern[str]) -> list[PairIds]:
    """The texts of some pairs. Raises TemplateError if the template refuses any of them."""
    simple = [not pair.plain and _is_simple(pair, marks) for pair in pairs]
    chats = [pair for pair, is_simple in zip(pairs, simple, strict=True) if is_simple]
    options = {"sanitize_control_tokens": False}  # there are none, and without looking for them it is much faster
    starts = iter(_render_all([p.prompt for p in chats], tokenizer, add_generation_prompt=True, **options))
    both = [(*pair.prompt, *side) for pair in chats for side in (pair.chosen, pair.rejected)]
    sides = iter(_render_all(both, tokenizer, **options))
    found = []
    for pair, is_simple in zip(pairs, simple, strict=True):
        if pair.plain:
            start, *answers = (messages[0]["content"] for messages in (pair.prompt, pair.chosen, pair.rejected))
            ids = tokenizer([start, *(start + answer for answer in answers)], split_special_tokens=True)["input_ids"]
            found.append(PairIds(*ids))
        elif not is_simple:
            whole = (_render([*pair.prompt, *side], tokenizer, pair.tools) for side in (pair.chosen, pair.rejected))
            found.append(PairIds(encode_prompt(pair.prompt, tokenizer, pair.tools), *whole))
        else:
            found.append(PairIds(next(starts), next(sides), next(sides)))
    return found


def _is_simple(pair: Pair, marks: re.Pattern[str]) -> bool:
    """Whether the pair is made of plain turns in which nothing looks like a token of the template."""
    turns = [*pair.prompt, *pair.chosen, *pair.rejected]
    return not pair.tools and all(
        message.keys() == {"role", "content"} and not marks.search(message["content"]) for message in turns
    )


def _marks(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Any added token, and the private characters with which transformers marks those that are meant as text."""
    tokens = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    return re.compile("|".join(["[\ue000-\uf8ff\U000f0000-\U0010ffff]", *map(re.escape, tokens)]))


def _texts_alone(pair: Pair, tokenizer: PreTrainedTokenizerBase, marks: re.Pattern[str]) -> PairIds | TemplateError:
    try:
        return _texts([pair], tokenizer, marks)[0]
    except TemplateError as error:
        return error


def _split(
    texts: PairIds, tokenizer: PreTrainedTokenizerBase, special: Set[int]
) -> tuple[list[int], list[int], list[int], bool]:
    """Prompt ids, both responses' ids, and whether the tokenizer merged across the boundary."""
    start, *sides = texts
    shared = min(common_prefix(start, side) for side in sides)
    chosen, rejected = (_end_turn(side[shared:], tokenizer, special) for side in sides)
    return start[:shared], chosen, rejected, shared < len(start)


def _render(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[Mapping[str, Any]] = (),
    **options: Any,
) -> list[int]:
    offered: list[Any] | None = [dict(tool) for tool in tools] or None
    return _render_all([messages], tokenizer, tools=offered, **options)[0]


def _render_all(
    conversations: Sequence[Sequence[Message]], tokenizer: PreTrainedTokenizerBase, **options: Any
) -> list[list[int]]:
    if not conversations:
        return []
    if not tokenizer.chat_template:
        raise InputError(
            "the pairs are chat messages, but the tokenizer has no chat template",
            where=str(tokenizer.name_or_path),
            do="use the instruct variant of the model, add chat_template.jinja to its folder, or give plain-text pairs",
        )
    chats: list[Any] = [[dict(message) for message in messages] for messages in conversations]
    ids = tokenizer.apply_chat_template(chats, return_dict=False, **{"sanitize_control_tokens": True, **options})
    return cast(list[list[int]], ids)


def _end_turn(response: list[int], tokenizer: PreTrainedTokenizerBase, special: Set[int]) -> list[int]:
    """Exactly one end-of-turn token at the end: templates may put white space after it, or leave it out."""
    body = list(response)
    while body and body[-1] not in special and not str(tokenizer.decode(body[-1:])).strip():
        body.pop()
    if body and body[-1] in special:
        return body
    return [*response, tokenizer.eos_token_id]

"""The ids of a conversation, from the form in which clients send it: the same as in training.

It is stored beside `served_model.py` and runs where this package is not installed, so it says again, in short, what
`dpo_core.data.messages` and `dpo_core.model.chat_template` do; a test holds it to them.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

THOUGHT_MARK = re.compile(r"think|thought|reason", re.IGNORECASE)
TOOL_MARK = re.compile(r"tool|function|call", re.IGNORECASE)
SAMPLE = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user")]
TEXTS = ("tool_call_id", "name", "reasoning_content")  # keys of a message beside role, content and calls


class BadTurn(ValueError):
    """Why a turn cannot be put to the model, in words for the person whose client sent it."""


def as_trained(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Content as text, arguments of calls as an object, a thought under each of its names. Raises BadTurn."""
    return [_message(message, f"message {number}") for number, message in enumerate(messages)]


def _message(given: Mapping[str, Any], place: str) -> dict[str, Any]:
    message = {"role": given["role"], "content": given.get("content") or ""}
    if calls := given.get("tool_calls"):
        if not isinstance(calls, list):
            raise BadTurn(f"tool_calls of {place} are no list")
        message["tool_calls"] = [_call(call, f"tool call {number} of {place}") for number, call in enumerate(calls)]
    message |= {name: given[name] for name in TEXTS if isinstance(given.get(name), str)}
    if thought := message.pop("reasoning_content", ""):
        message |= {"reasoning_content": thought, "reasoning": thought}
    return message


def _call(given: Any, place: str) -> dict[str, Any]:
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadTurn(f"{place} names no function")
    arguments = function.get("arguments") or {}
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise BadTurn(f"the arguments of {place} are no JSON object")
    named = {"name": function["name"], "arguments": without_nulls(arguments)}
    call: dict[str, Any] = {"type": "function", "function": named}
    return call | {"id": given["id"]} if isinstance(given.get("id"), str) else call


def without_nulls(value: Any) -> Any:
    """What is null was not given: training reads its data so."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


class Chat:
    """A tokenizer's chat template: what is said stays text, but an assistant may write tokens that frame no turn."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def ids(self, messages: Sequence[Mapping[str, Any]], tools: Any = None) -> list[int]:
        """What an answer goes on from. Raises whatever the template raises."""
        from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens

        marks = [self._frame if message["role"] == "assistant" else self._control for message in messages]
        chat = [mark_control_tokens(dict(message), those) for message, those in zip(messages, marks, strict=True)]
        text = self._write(chat, mark_control_tokens(without_nulls(tools), self._control) or None)
        return list(encode_marked_chat(self._tokenizer, text))

    def _write(self, chat: Sequence[Mapping[str, Any]], tools: Any = None) -> str:
        return str(self._tokenizer.apply_chat_template(chat, tools=tools, tokenize=False, add_generation_prompt=True))

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """What template and assistant alone can write."""
        from transformers.utils.chat_template_utils import _get_template_literal_text

        given = self._tokenizer.chat_template
        templates = given.values() if isinstance(given, dict) else [given or ""]
        written = "\0".join([*map(_get_template_literal_text, templates), self._sample])
        return _any_of(
            token.content
            for token in self._tokenizer.added_tokens_decoder.values()
            if token.special
            or (token.content in written and not token.content.isspace())
            or THOUGHT_MARK.search(token.content)
            or TOOL_MARK.search(token.content)
        )

    @cached_property
    def _frame(self) -> re.Pattern[str]:
        """What frames texts and turns: an assistant cannot write it either."""
        ends = {str(token) for token in self._tokenizer.special_tokens_map.values() if isinstance(token, str)}
        return _any_of(
            token.content
            for token in self._tokenizer.added_tokens_decoder.values()
            if (token.content in ends or token.content in self._sample)
            and not token.content.isspace()
            and not THOUGHT_MARK.search(token.content)
        )

    @cached_property
    def _sample(self) -> str:
        for chat in (SAMPLE, SAMPLE[1:], SAMPLE[1:2]):
            try:
                return self._write(chat)
            except Exception:  # a template without a system turn, or of one turn alone
                continue
        return ""


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted({token for token in tokens if token}, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

"""Rows that hold whole conversations: OpenAI's, ShareGPT's and LLaMA-Factory's files, and TRL's implicit prompts."""

import json
import re
from collections.abc import Mapping
from typing import Any

from dpo_core.data.messages import BadRow, kind_of, messages_of, say, tool_calls_of
from dpo_core.data.pairs import Message, common_prefix

Conversations = tuple[list[Message], list[Message], list[Message]]  # prompt, chosen, rejected
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
MESSAGES = re.compile(r"\s*\[\s*\{\s*(['\"])(?:role|content|from|value)\1\s*:")  # how a list of messages begins as text
ROLE = re.compile(r"(['\"])(?:role|from)\1\s*:\s*\1(?:system|user|assistant|tool|developer|human|gpt)\1")


def openai_sides(row: Mapping[str, object]) -> tuple[list[Message], list[Message], list[Message], Mapping[str, object]]:
    """Prompt, both outputs, and `input`, which may hold tools (OpenAI, Azure OpenAI and Together)."""
    given = row["input"]
    if not isinstance(given, Mapping) or "messages" not in given:
        raise BadRow("input has no messages")
    prompt = messages_of(given["messages"], "input.messages")
    return (prompt, *(messages_of(row[name], name) for name in ("preferred_output", "non_preferred_output")), given)  # type: ignore[return-value]


def sharegpt_sides(row: Mapping[str, Any]) -> Conversations:
    """`conversations` (or `messages`) up to the answers; each of these a message, some messages, or text."""
    prompt = next(spoken(row[name], name) for name in ("conversations", "messages") if name in row)
    chosen, rejected = (
        say("assistant", row[side]) if isinstance(row[side], str) else spoken(row[side], side)
        for side in ("chosen", "rejected")
    )
    return prompt, chosen, rejected


def llama_factory_sides(row: Mapping[str, object]) -> Conversations:
    """LLaMA-Factory's v1 files: whole conversations that share their beginning."""
    chosen, rejected = (messages_of(row[side], side) for side in ("chosen_messages", "rejected_messages"))
    return shared_beginning(chosen, rejected)


def shared_beginning(chosen: str | list[Message], rejected: str | list[Message]) -> Conversations:
    """The prompt is what both sides begin with: whole messages, or text up to the last blank they share (as TRL)."""
    length = common_prefix(chosen, rejected)
    if isinstance(chosen, str) or isinstance(rejected, str):
        return _shared_text(str(chosen), str(rejected), length)
    if not length:
        raise BadRow("chosen and rejected share no first message: there is no prompt")
    if length == len(chosen) or length == len(rejected):
        same = len(chosen) == len(rejected)
        raise BadRow("chosen and rejected are identical" if same else "one side has no answer of its own")
    return chosen[:length], chosen[length:], rejected[length:]


def _shared_text(chosen: str, rejected: str, length: int) -> Conversations:
    if length and chosen[length - 1] == " ":
        length -= 1
    if not length:
        raise BadRow("chosen and rejected share no beginning: there is no prompt")
    return (
        say("user", chosen[:length]),
        say("assistant", chosen[length:]),
        say("assistant", rejected[length:]),
    )


def without_prompt(prompt: str | list[Message], chosen: list[Message], rejected: list[Message]) -> Conversations:
    """Sides that repeat the prompt (UltraFeedback's binarised form): it must be part of what they share."""
    sides = shared_beginning(chosen, rejected)
    start = sides[0]
    if isinstance(prompt, str):
        part = prompt.strip() in "\n".join(message["content"] for message in start)
    else:
        part = any(start[at : at + len(prompt)] == prompt for at in range(len(start)))
    if not part:
        raise BadRow("chosen and rejected begin with other turns than the prompt")
    return sides


def side_of(value: object, column: str) -> str | list[Message]:
    """Text as it is, messages checked; text that is JSON of messages is taken for what it stands for."""
    return (_in_text(value, column) or value) if isinstance(value, str) else spoken(value, column)


def _in_text(text: str, column: str) -> list[Message] | None:
    """The messages that a text is JSON of. Raises BadRow where it is Python's text of messages, or cut."""
    start = MESSAGES.match(text)
    if start is None:
        return None
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        if not ROLE.search(text):
            return None
        form = "Python's text of messages, not JSON" if start[1] == "'" else "JSON of messages that breaks off"
        raise BadRow(f"{column} is {form}") from None
    keys = ("role", "content"), ("role", "tool_calls"), ("from", "value")
    fit = all(isinstance(item, Mapping) and any(item.keys() >= set(pair) for pair in keys) for item in items)
    return spoken(items, column) if fit else None


def spoken(value: object, column: str) -> list[Message]:
    """Messages of role and content, or ShareGPT's of from and value."""
    items = [value] if isinstance(value, Mapping) and "from" in value else value
    if not isinstance(items, list) or not any(isinstance(item, Mapping) and "from" in item for item in items):
        return messages_of(items, column)
    return [
        _turn(item, f"{column}[{number}]") if "from" in item else messages_of([item], column)[0]
        for number, item in enumerate(items)
        if isinstance(item, Mapping) or messages_of([item], column)
    ]


def _turn(item: Mapping[str, object], place: str) -> Message:
    speaker, value = item["from"], item.get("value")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise BadRow(f"{place} is from {str(speaker)[:40]!r}; known are {', '.join(SPEAKERS)}")
    if not isinstance(value, str):
        raise BadRow(f"{place}.value is {kind_of(value)}, not text")
    if speaker == "function_call":
        calls = value if value.lstrip().startswith("[") else f"[{value}]"
        return {"role": "assistant", "content": "", "tool_calls": tool_calls_of(calls, place)}
    return {"role": SPEAKERS[speaker], "content": value}

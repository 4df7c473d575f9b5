"""Rows that hold whole conversations: OpenAI's, ShareGPT's and LLaMA-Factory's files, and TRL's implicit prompts."""

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


def openai_sides(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message], Mapping[str, Any]]:
    """Prompt, both outputs, and `input`, which may hold tools (OpenAI, Azure OpenAI and Together)."""
    given = row["input"]
    if not isinstance(given, Mapping) or "messages" not in given:
        raise BadRow("input has no messages")
    prompt = messages_of(given["messages"], "input.messages")
    return (prompt, *(messages_of(row[name], name) for name in ("preferred_output", "non_preferred_output")), given)  # type: ignore[return-value]


def sharegpt_sides(row: Mapping[str, Any]) -> Conversations:
    """`conversations` of `from` and `value`; each side a message, some messages, or text."""
    prompt = _spoken(row["conversations"], "conversations")
    if row.get("system"):
        if not isinstance(row["system"], str):
            raise BadRow(f"system is {kind_of(row['system'])}, not text")
        prompt = [*say("system", row["system"]), *prompt]
    chosen, rejected = (
        say("assistant", row[side]) if isinstance(row[side], str) else _spoken(row[side], side)
        for side in ("chosen", "rejected")
    )
    return prompt, chosen, rejected


def llama_factory_sides(row: Mapping[str, Any]) -> Conversations:
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


def _spoken(value: object, column: str) -> list[Message]:
    """ShareGPT's messages; those of role and content are taken too."""
    items = [value] if isinstance(value, Mapping) else value
    if not isinstance(items, list) or not items:
        raise BadRow(f"{column} is {'an empty list' if items == [] else kind_of(value)}, not a list of messages")
    return [
        message
        for number, item in enumerate(items)
        for message in (
            [_turn(item, f"{column}[{number}]")]
            if isinstance(item, Mapping) and "from" in item
            else messages_of([item], column)
        )
    ]


def _turn(item: Mapping[str, Any], place: str) -> Message:
    speaker, value = item["from"], item.get("value")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise BadRow(f"{place} is from {str(speaker)[:40]!r}; known are {', '.join(SPEAKERS)}")
    if not isinstance(value, str):
        raise BadRow(f"{place}.value is {kind_of(value)}, not text")
    if speaker == "function_call":
        calls = value if value.lstrip().startswith("[") else f"[{value}]"
        return {"role": "assistant", "content": "", "tool_calls": tool_calls_of(calls, place)}
    return {"role": SPEAKERS[speaker], "content": value}

"""Messages as they come in files, checked and brought into one form: role, text, tool calls."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from dpo_core.data.pairs import Message, Role

ROLES = get_args(Role)
THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # names that files have for what an answer thinks first
KEYS = frozenset(["role", "content", "tool_calls", "tool_call_id", "name", *THOUGHTS])
TEXT_LIMIT = 256 << 10  # bytes of one text: some 60,000 tokens, and seconds of a tokenizer
SPOILT = 0.05  # share of a text's characters that may be unreadable
_LATE = (  # bytes 0x80 to 0xbf, read as Latin-1 or CP1252
    "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014\u2018-\u201a\u201c-\u201e"
    "\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
)
MOJIBAKE = re.compile(
    f"[\u00c2\u00c3\u00d0\u00d1]{_LATE}|[\u00e0-\u00ef](?!\u00a0){_LATE}{{2}}"
)  # \u00a0: French quotes


class BadRow(ValueError):
    """Why a row cannot be trained on, in words for the person who made it."""


def messages_of(value: object, column: str) -> list[Message]:
    """Checked messages. Raises BadRow with column and position."""
    if value is None:
        raise BadRow(f"{column} is null")
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise BadRow(f"{column} is {kind_of(value)}, not text or a list of messages")
    if not value:
        raise BadRow(f"{column} is an empty list")
    return [_message(item, f"{column}[{number}]") for number, item in enumerate(value)]


def say(role: str, text: str) -> list[Message]:
    """One message."""
    return [{"role": role, "content": text}]


def _message(item: object, place: str) -> Message:
    if not isinstance(item, Mapping) or "role" not in item or ("content" not in item and not item.get("tool_calls")):
        raise BadRow(f"{place} is not a message: it needs role and content")
    if item["role"] not in ROLES:
        raise BadRow(f"{place} has unknown role {str(item['role'])[:40]!r}; known are {', '.join(ROLES)}")
    if item.get("function_call"):
        raise BadRow(f"{place} has function_call, OpenAI's old name: write tool_calls, a list of calls")
    calls = item.get("tool_calls")
    content = item.get("content")
    message: Message = {
        "role": str(item["role"]),
        "content": "" if content is None and calls else content_of(content, place),
    }
    if calls:
        message["tool_calls"] = tool_calls_of(calls, f"{place}.tool_calls")
    if isinstance(item.get("tool_call_id"), str):
        message["tool_call_id"] = item["tool_call_id"]
    if isinstance(item.get("name"), str):
        message["name"] = item["name"]
    if (thought := _thought(item, place)) is not None:
        message["reasoning_content"] = thought
    return message


def _thought(item: Mapping[str, Any], place: str) -> str | None:
    """What the assistant thought, under any of its names."""
    given = {key: item[key] for key in THOUGHTS if item.get(key) not in (None, "")}
    for key, thought in given.items():
        if not isinstance(thought, str):
            raise BadRow(f"{place}.{key} is {kind_of(thought)}, not text")
        if item["role"] != "assistant":
            raise BadRow(f"{place} has {key}, but is a turn of role {item['role']!r}: only the assistant thinks")
    if len(set(given.values())) > 1:
        raise BadRow(f"{place} has {' and '.join(given)}, which differ")
    return next(iter(given.values()), None)


def content_of(content: object, place: str) -> str:
    """Text as it is; typed parts (OpenAI's `text`, LLaMA-Factory's `value`) joined where all of them are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        kinds = {str(part.get("type")) for part in content}
        if kinds != {"text"}:
            raise BadRow(f"{place} holds {', '.join(sorted(kinds - {'text'}))[:80]}: only text can be trained on")
        return "".join(content_of(part.get("text", part.get("value")), place) for part in content)
    raise BadRow(f"{place}.content is {kind_of(content)}, not text")


def tool_calls_of(value: object, place: str) -> list[dict[str, object]]:
    """Calls of functions, arguments as an object (OpenAI's files have them as JSON text; templates want the object)."""
    value = parsed(value, place)
    if not isinstance(value, list) or not value:
        raise BadRow(f"{place} is {kind_of(value)}, not a list of calls")
    return [_tool_call(without_nulls(item), f"{place}[{number}]") for number, item in enumerate(value)]


def _tool_call(item: object, place: str) -> dict[str, object]:
    function = item.get("function", item) if isinstance(item, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadRow(f"{place} names no function")
    arguments = parsed(function.get("arguments") or {}, f"{place}.arguments")
    if not isinstance(arguments, Mapping):
        raise BadRow(f"{place}.arguments is {kind_of(arguments)}, not an object")
    call: dict[str, object] = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    if isinstance(item, Mapping) and isinstance(item.get("id"), str):
        call["id"] = item["id"]
    require_json(call, place)
    return call


def tools_of(value: object) -> tuple[dict[str, object], ...]:
    """The functions a row offers (JSON schema each, or JSON text of them), as chat templates take them."""
    value = parsed(value or [], "tools")
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) and tool for tool in value):
        raise BadRow(f"tools is {kind_of(value)}, not a list of objects")
    tools = tuple(dict(without_nulls(tool)) for tool in value)
    require_json(list(tools), "tools")
    return tools


def parsed(value: object, place: str) -> object:
    """JSON text as the value it stands for; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{place} is no JSON: {str(error)[:80]}") from None


def require_json(value: object, place: str) -> None:
    """Raises BadRow where a value cannot be written as JSON."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRow(f"{place} is no JSON: {error}") from None


def without_nulls(value: Any) -> Any:
    """Arrow gives every struct every key of its column: those that are null were not there."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def require_turns(messages: Sequence[Message]) -> None:
    """One system turn at most, first; then user and assistant in turn; a tool's turns follow the assistant's."""
    before = ""
    for number, message in enumerate(messages):
        role = message["role"]
        if role in ("system", "developer") and number:
            raise BadRow(f"turn {number + 1} is a {role} turn: there may be one, at the beginning")
        if role == "assistant" and before in ("", "system", "developer"):
            raise BadRow("the conversation begins with the assistant")
        if role == "tool" and before not in ("assistant", "tool"):
            raise BadRow(f"turn {number + 1} is a tool's, but the assistant called none")
        if role == before and role != "tool":
            raise BadRow(f"turns {number} and {number + 1} are both the {role}'s")
        before = role


def require_words(messages: Sequence[Message], side: str) -> None:
    """Something is said, nothing of it unreadable; an answer's last turn is not empty."""
    if not any(message["content"].strip() or message.get("tool_calls") for message in messages):
        raise BadRow(f"{side} is empty")
    if side != "prompt" and not messages[-1]["content"].strip() and not messages[-1].get("tool_calls"):
        raise BadRow(f"{side} ends with an empty message")
    for message in messages:
        require_clean(message["content"], side)
        require_clean(message.get("reasoning_content", ""), side)


def as_compared(messages: Sequence[Message]) -> list[tuple[str, str, str, object]]:
    """Without white space at the ends and differences of Unicode that cannot be seen."""
    return [
        (m["role"], _same(m["content"]), _same(m.get("reasoning_content", "")), m.get("tool_calls")) for m in messages
    ]


def _same(text: str) -> str:
    text = text.strip()
    return text if unicodedata.is_normalized("NFKC", text) else unicodedata.normalize("NFKC", text)


def require_clean(text: str, place: str) -> None:
    """Raises BadRow for NUL, half of a surrogate pair, too long a text, and one decoded with the wrong encoding."""
    if "\0" in text:
        raise BadRow(f"{place} holds a NUL character")
    plain = text.isascii()
    try:
        size = len(text) if plain else len(text.encode())
    except UnicodeEncodeError:
        raise BadRow(f"{place} holds half of a surrogate pair, which is no text") from None
    if size > TEXT_LIMIT:
        raise BadRow(f"{place} holds a text of {size:,} bytes, more than {TEXT_LIMIT:,}: cut or split it")
    if plain:
        return
    lost = text.count("\ufffd")
    if lost > SPOILT * len(text):
        raise BadRow(f"{place} holds {lost} replacement characters (U+FFFD) in {len(text)}: its text was lost")
    if len(spoilt := MOJIBAKE.findall(text)) > 2 and 2 * len(spoilt) > SPOILT * len(text):
        raise BadRow(f"{place} is mojibake, {len(spoilt)} times in {len(text)} characters: decoded as what it is not")


def kind_of(value: object) -> str:
    """What a value is, in words."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    names[bytes] = "bytes"
    return "null" if value is None else names.get(type(value), type(value).__name__)

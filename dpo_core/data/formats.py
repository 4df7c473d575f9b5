"""One row of any supported shape to a `Pair`, or the reason why not.

TRL's preference shapes (explicit and implicit prompt, messages and plain text) and the preference format of OpenAI's
fine-tuning files (`input.messages`, `preferred_output`, `non_preferred_output`).
"""

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from dpo_core.data.pairs import Message, Pair, Role

ROLES = get_args(Role)
ANSWER_ROLES = ("assistant", "tool")
KEPT = ("prompt", "chosen", "rejected", "source", "sft_weight", "meta")
OPENAI = ("input", "preferred_output", "non_preferred_output")
IMAGES = ("image", "images", "video", "videos", "audio")


class BadRow(ValueError):
    """Why a row cannot be trained on, in words for the person who made it."""


class MissingColumn(BadRow):
    """A column that every row needs is not there."""

    def __init__(self, column: str, row: Mapping[str, Any]) -> None:
        others = {name.lower(): name for name in row if name not in KEPT}
        near = difflib.get_close_matches(column, others, n=1, cutoff=0.5)
        hint = (
            f"; did you mean {others[near[0]]!r}?" if near else f"; the row has {', '.join(sorted(row)) or 'nothing'}"
        )
        super().__init__(f"missing column {column!r}{hint}")
        self.column = column


def format_of(row: Mapping[str, Any]) -> str:
    """The shape of a row, in words."""
    if "preferred_output" in row:
        return "OpenAI preference"
    prompt = "explicit prompt" if "prompt" in row else "implicit prompt"
    return f"TRL {prompt}, {'messages' if isinstance(row.get('chosen'), list) else 'text'}"


def dropped_columns(row: Mapping[str, Any]) -> list[str]:
    """Columns that no part of the pipeline reads."""
    return [name for name in row if name not in (OPENAI if "preferred_output" in row else KEPT)]


def to_pair(row: Mapping[str, Any], where: str) -> Pair:
    """The normalised pair. Raises BadRow."""
    for name in IMAGES:
        if row.get(name):
            raise BadRow(f"column {name!r}: only text can be trained on")
    prompt, chosen, rejected, plain, meta = _sides(row)
    _require_text(prompt, "prompt")
    for side, messages in (("chosen", chosen), ("rejected", rejected)):
        _require_text(messages, side)
        wrong = next((m["role"] for m in messages if m["role"] not in ANSWER_ROLES), None)
        if wrong is not None:
            raise BadRow(f"{side} has a turn of role {wrong!r}: an answer is the assistant's")
        if all(m["role"] != "assistant" for m in messages):
            raise BadRow(f"{side} has no turn of the assistant")
    if prompt[-1]["role"] == "assistant":
        raise BadRow("the prompt ends with an assistant turn: there is nothing to answer")
    if [m["content"].strip() for m in chosen] == [m["content"].strip() for m in rejected]:
        raise BadRow("chosen and rejected are identical")
    return Pair(
        prompt=tuple(prompt),
        chosen=tuple(chosen),
        rejected=tuple(rejected),
        source=_source(row),
        sft_weight=_weight(row),
        plain=plain,
        meta=meta,
        where=where,
    )


def _sides(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message], bool, Mapping[str, Any]]:
    """Prompt, chosen, rejected, whether they are plain text, meta."""
    if "preferred_output" in row or "non_preferred_output" in row:
        return _openai(row)
    for column in ("chosen", "rejected"):
        if column not in row:
            raise MissingColumn(column, row)
    chosen, rejected = _side(row, "chosen"), _side(row, "rejected")
    meta = _meta(row)
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise BadRow("one side is text and the other messages")
    if "prompt" not in row:
        if any(name.lower() in ("prompt", "question", "instruction", "query", "input") for name in row):
            raise MissingColumn("prompt", row)
        return (*_implicit(chosen, rejected), isinstance(chosen, str), meta)
    prompt = _side(row, "prompt")
    plain = isinstance(prompt, str) and isinstance(chosen, str)
    answers = [_as_messages(side, "assistant") for side in (chosen, rejected)]
    return _as_messages(prompt, "user"), *answers, plain, meta  # type: ignore[return-value]


def _openai(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message], bool, Mapping[str, Any]]:
    for column in OPENAI:
        if column not in row:
            raise MissingColumn(column, row)
    given = row["input"]
    if not isinstance(given, Mapping) or "messages" not in given:
        raise BadRow("input has no messages")
    meta = {name: given[name] for name in ("tools", "parallel_tool_calls") if name in given}
    sides = [_messages(row[name], name) for name in OPENAI[1:]]
    return _messages(given["messages"], "input.messages"), sides[0], sides[1], False, meta


def _side(row: Mapping[str, Any], column: str) -> str | list[Message]:
    value = row[column]
    return value if isinstance(value, str) else _messages(value, column)


def _messages(value: object, column: str) -> list[Message]:
    """Checked messages with text content. Raises BadRow with column and position."""
    if value is None:
        raise BadRow(f"{column} is null")
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise BadRow(f"{column} is {_kind(value)}, not text or a list of messages")
    if not value:
        raise BadRow(f"{column} is an empty list")
    return [_message(item, f"{column}[{number}]") for number, item in enumerate(value)]


def _message(item: object, place: str) -> Message:
    if not isinstance(item, Mapping) or "role" not in item or "content" not in item:
        raise BadRow(f"{place} is not a message: it needs role and content")
    if item["role"] not in ROLES:
        raise BadRow(f"{place} has unknown role {str(item['role'])[:40]!r}; known are {', '.join(ROLES)}")
    if item.get("tool_calls"):
        raise BadRow(f"{place} has tool calls, which are not supported yet")
    return {"role": str(item["role"]), "content": _content(item["content"], place)}


def _content(content: object, place: str) -> str:
    """Text as it is; typed parts joined where all of them are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        kinds = {str(part.get("type")) for part in content}
        if kinds != {"text"}:
            raise BadRow(f"{place} holds {', '.join(sorted(kinds - {'text'}))}: only text can be trained on")
        return "".join(_content(part.get("text"), place) for part in content)
    raise BadRow(f"{place}.content is {_kind(content)}, not text")


def _implicit(
    chosen: str | list[Message], rejected: str | list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """The prompt is what both sides begin with: whole messages, or text up to the last blank they share (as TRL)."""
    length = next(
        (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
    )
    if isinstance(chosen, str) and isinstance(rejected, str):
        if length and chosen[length - 1] == " ":
            length -= 1
        if not length:
            raise BadRow("chosen and rejected share no beginning: there is no prompt")
        prompt = chosen[:length]
        return tuple(
            _as_messages(t, r)
            for t, r in ((prompt, "user"), (chosen[length:], "assistant"), (rejected[length:], "assistant"))
        )  # type: ignore[return-value]
    if not length:
        raise BadRow("chosen and rejected share no first message: there is no prompt")
    if length == len(chosen) or length == len(rejected):
        raise BadRow(
            "chosen and rejected are identical" if len(chosen) == len(rejected) else "one side has no answer of its own"
        )
    return chosen[:length], chosen[length:], rejected[length:]  # type: ignore[return-value]


def _as_messages(side: str | list[Message], role: str) -> list[Message]:
    return [{"role": role, "content": side}] if isinstance(side, str) else side


def _require_text(messages: Sequence[Message], side: str) -> None:
    if not any(message["content"].strip() for message in messages):
        raise BadRow(f"{side} is empty")
    if side != "prompt" and not messages[-1]["content"].strip():
        raise BadRow(f"{side} ends with an empty message")
    for message in messages:
        _require_clean(message["content"], side)


def _require_clean(text: str, place: str) -> None:
    if "\0" in text:
        raise BadRow(f"{place} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{place} holds half of a surrogate pair, which is no text") from None


def _meta(row: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = row.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise BadRow(f"meta is {_kind(meta)}, not an object")
    try:
        json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRow(f"meta is no JSON: {error}") from None
    return meta


def _source(row: Mapping[str, Any]) -> str:
    source = row.get("source")
    if source is None:
        return ""
    if not isinstance(source, str):
        raise BadRow(f"source is {_kind(source)}, not text")
    _require_clean(source, "source")
    return source


def _weight(row: Mapping[str, Any]) -> float:
    weight = row.get("sft_weight")
    if weight is None:
        return 1.0
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not number or not 0 <= weight <= sys.float_info.max:  # NaN is in no range
        raise BadRow(f"sft_weight is {str(weight)[:40]}, not a number from 0")
    return float(weight)


def _kind(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)

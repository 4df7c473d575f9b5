"""One row of any supported shape to a `Pair`, or the reason why not.

A shape is recognised by the row's columns: TRL's preference shapes, HH transcripts, scored answers (UltraFeedback),
ShareGPT and LLaMA-Factory, and the files of managed services (OpenAI, Azure, Together; Gemini). Here it is decided that
a row is unusable: it cannot become a pair. Whether a pair is suspicious is for dpo_core.quality to say.
"""

import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dpo_core.data.conversations import llama_factory_sides, openai_sides, shared_beginning, sharegpt_sides
from dpo_core.data.messages import (
    BadRow,
    as_compared,
    kind_of,
    messages_of,
    require_clean,
    require_json,
    require_turns,
    require_words,
    say,
    tools_of,
    unread_keys,
)
from dpo_core.data.pairs import Message, Pair
from dpo_core.data.rated_answers import gemini_sides, number_of, ultrafeedback_sides
from dpo_core.data.transcripts import dialogue_sides, is_transcript, turns_of

ANSWER_ROLES = ("assistant", "tool")
IMAGES = ("image", "images", "video", "videos", "audio", "audios")
TEMPLATES = ("chat_template", "chat_template_kwargs")
PROMPTS = ("prompt", "question", "instruction", "query", "input")
META = {  # columns that go to `meta`, and their names there
    "annotator": "annotator",
    "timestamp": "timestamp",
    "created_at": "timestamp",
    "chosen_model": "chosen_model",
    "rejected_model": "rejected_model",
    "chosen-model": "chosen_model",
    "rejected-model": "rejected_model",
    "chosen_score": "chosen_score",
    "rejected_score": "rejected_score",
    "score_chosen": "chosen_score",
    "score_rejected": "rejected_score",
    "chosen-rating": "chosen_score",
    "rejected-rating": "rejected_score",
}
IDS = ("row_id", "id", "uuid")  # columns that name a row; the first that is there
COMMON = frozenset(["source", "sft_weight", "meta", "tools", *IDS, *META])


class MissingColumn(BadRow):
    """A column that every row needs is not there."""

    def __init__(self, column: str, row: Mapping[str, Any]) -> None:
        others = {name.lower(): name for name in row if name not in (*COMMON, "prompt", "chosen", "rejected")}
        near = difflib.get_close_matches(column, others, n=1, cutoff=0.5)
        columns = ", ".join(sorted(map(str, row)))[:200] or "nothing"
        super().__init__(
            f"missing column {column!r}{f'; did you mean {others[near[0]]!r}?' if near else ''}"
            f"{'' if near else f'; the row has {columns}'}"
        )
        self.column = column


@dataclass(frozen=True)
class Sides:
    """A row's content before it is checked. `plain`: text without chat structure, one message each."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    meta: Mapping[str, Any] = field(default_factory=dict)
    tools: object = None
    plain: bool = False


@dataclass(frozen=True)
class Shape:
    """A format: its name, the columns it reads, and those that it cannot do without."""

    name: str
    columns: frozenset[str]
    needs: tuple[str, ...]
    sides: Callable[[Mapping[str, Any]], Sides]


def to_pair(row: Mapping[str, Any], where: str) -> Pair:
    """The normalised pair. Raises BadRow."""
    for name in (*IMAGES, *TEMPLATES):
        if row.get(name):
            why = "only text can be trained on" if name in IMAGES else "a template is never taken from the data"
            raise BadRow(f"column {name!r}: {why}")
    shape = shape_of(row)
    for column in shape.needs:
        if column not in row:
            raise MissingColumn(column, row)
    sides = shape.sides(row)
    _require_comparison(sides)
    meta = _meta(row) | dict(sides.meta)
    return Pair(
        prompt=tuple(sides.prompt),
        chosen=tuple(sides.chosen),
        rejected=tuple(sides.rejected),
        source=_source(row),
        sft_weight=_weight(row),
        plain=sides.plain,
        tools=tools_of(row.get("tools") if sides.tools is None else sides.tools),
        meta=meta,
        where=where,
        row_id=_row_id(row, meta),
    )


def format_of(row: Mapping[str, Any]) -> str:
    """The shape of a row, in words."""
    shape = shape_of(row)
    if shape is not TRL:
        return shape.name
    prompt = "explicit prompt" if "prompt" in row else "implicit prompt"
    return f"TRL {prompt}, {'messages' if isinstance(row.get('chosen'), list) else 'text'}"


def dropped_columns(row: Mapping[str, Any]) -> list[str]:
    """Columns, and keys of messages, that no part of the pipeline reads."""
    known = shape_of(row).columns
    columns = [name for name in row if name not in known and name not in COMMON]
    keys = {f"{name}[].{key}" for name in row if name in known for key in unread_keys(row[name])}
    return [*columns, *sorted(keys)]


def shape_of(row: Mapping[str, Any]) -> Shape:
    """The shape that a row's columns tell."""
    if "preferred_output" in row or "non_preferred_output" in row:
        return OPENAI
    if "contents" in row:
        return GEMINI
    if "completions" in row:
        return ULTRAFEEDBACK
    if "chosen_messages" in row or "rejected_messages" in row:
        return LLAMA_FACTORY
    if "conversations" in row:
        return SHAREGPT
    whole = is_transcript(row.get("chosen")) and is_transcript(row.get("rejected")) and "prompt" not in row
    return HH if whole or _cut_transcript(row) else TRL


def _cut_transcript(row: Mapping[str, Any]) -> bool:
    """Whether the prompt is a transcript up to the assistant's turn, and the answers are what it says."""
    prompt = row.get("prompt")
    texts = isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str)
    return texts and is_transcript(prompt) and str(prompt).rstrip().endswith("\n\nAssistant:")


def _require_comparison(sides: Sides) -> None:
    """A prompt that asks, and two answers of the assistant that differ."""
    require_words(sides.prompt, "prompt")
    for side, messages in (("chosen", sides.chosen), ("rejected", sides.rejected)):
        require_words(messages, side)
        wrong = next((m["role"] for m in messages if m["role"] not in ANSWER_ROLES), None)
        if wrong is not None:
            raise BadRow(f"{side} has a turn of role {wrong!r}: an answer is the assistant's")
        if all(m["role"] != "assistant" for m in messages):
            raise BadRow(f"{side} has no turn of the assistant")
    if sides.prompt[-1]["role"] == "assistant" and not sides.prompt[-1].get("tool_calls"):
        raise BadRow("the prompt ends with an assistant turn: there is nothing to answer")
    for messages in (sides.chosen, sides.rejected):
        require_turns([*sides.prompt, *messages])
    if as_compared(sides.chosen) == as_compared(sides.rejected):
        raise BadRow("chosen and rejected are identical")


def _meta(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's `meta`, and the columns that belong there."""
    meta = row.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise BadRow(f"meta is {kind_of(meta)}, not an object")
    found = dict(meta)
    for column, name in META.items():
        if row.get(column) is not None:
            found[name] = number_of(row[column], column) if name.endswith("_score") else row[column]
    if found:
        require_json(found, "meta")
    return found


def _source(row: Mapping[str, Any]) -> str:
    source = row.get("source")
    if source is None:
        return ""
    if not isinstance(source, str):
        raise BadRow(f"source is {kind_of(source)}, not text")
    require_clean(source, "source")
    return source


def _row_id(row: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """What the file calls the row, in a column or in `meta`; empty if nothing."""
    names = (given[name] for given in (row, meta) for name in IDS if given.get(name) is not None)
    name = next(names, "")
    return str(name) if isinstance(name, (str, int)) else ""


def _weight(row: Mapping[str, Any]) -> float:
    weight = row.get("sft_weight")
    if weight is None:
        return 1.0
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not number or not 0 <= weight <= sys.float_info.max:  # NaN is in no range
        raise BadRow(f"sft_weight is {str(weight)[:40]}, not a number from 0")
    return float(weight)


def _hh(row: Mapping[str, Any]) -> Sides:
    if "prompt" not in row:
        return Sides(*dialogue_sides(row["chosen"], row["rejected"]))
    turns = turns_of(row["prompt"].rstrip())
    if turns[-1]["content"]:
        raise BadRow("the prompt ends within the assistant's turn")
    chosen, rejected = (say("assistant", row[side].strip()) for side in ("chosen", "rejected"))
    return Sides(turns[:-1], chosen, rejected)


def _trl(row: Mapping[str, Any]) -> Sides:
    chosen, rejected = _side(row, "chosen"), _side(row, "rejected")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise BadRow("one side is text and the other messages")
    whole = not isinstance(chosen, str) and chosen[0]["role"] in ("system", "developer", "user")
    if "prompt" not in row:
        if any(str(name).lower() in PROMPTS for name in row):
            raise MissingColumn("prompt", row)
        return Sides(*shared_beginning(chosen, rejected), plain=isinstance(chosen, str))
    if whole and isinstance(row["prompt"], str):  # UltraFeedback's binarised form: the sides repeat the prompt
        return Sides(*shared_beginning(chosen, rejected))
    prompt = _side(row, "prompt")
    return Sides(
        say("user", prompt) if isinstance(prompt, str) else prompt,
        say("assistant", chosen) if isinstance(chosen, str) else chosen,
        say("assistant", rejected) if isinstance(rejected, str) else rejected,
        plain=isinstance(prompt, str) and isinstance(chosen, str),
    )


def _side(row: Mapping[str, Any], column: str) -> str | list[Message]:
    value = row[column]
    return value if isinstance(value, str) else messages_of(value, column)


def _openai(row: Mapping[str, Any]) -> Sides:
    prompt, chosen, rejected, given = openai_sides(row)
    meta = {name: given[name] for name in ("parallel_tool_calls",) if given.get(name) is not None}
    return Sides(prompt, chosen, rejected, meta, given.get("tools") or row.get("tools") or ())


TRL = Shape("TRL", frozenset(["prompt", "chosen", "rejected"]), ("chosen", "rejected"), _trl)
HH = Shape("HH transcript", TRL.columns, TRL.needs, _hh)
OPENAI = Shape(
    "OpenAI preference",
    frozenset(["input", "preferred_output", "non_preferred_output"]),
    ("input", "preferred_output", "non_preferred_output"),
    _openai,
)
GEMINI = Shape(
    "Gemini preference",
    frozenset(["contents", "completions", "systemInstruction", "system_instruction"]),
    ("contents", "completions"),
    lambda row: Sides(*gemini_sides(row)),
)
ULTRAFEEDBACK = Shape(
    "scored answers (UltraFeedback)",
    frozenset(["prompt", "instruction", "completions"]),
    ("completions",),
    lambda row: Sides(*ultrafeedback_sides(row)),
)
SHAREGPT = Shape(
    "ShareGPT",
    frozenset(["conversations", "chosen", "rejected", "system"]),
    ("conversations", "chosen", "rejected"),
    lambda row: Sides(*sharegpt_sides(row)),
)
LLAMA_FACTORY = Shape(
    "LLaMA-Factory messages",
    frozenset(["chosen_messages", "rejected_messages"]),
    ("chosen_messages", "rejected_messages"),
    lambda row: Sides(*llama_factory_sides(row)),
)
SHAPES = (TRL, HH, OPENAI, GEMINI, ULTRAFEEDBACK, SHAREGPT, LLAMA_FACTORY)
COLUMNS = COMMON.union(*(shape.columns for shape in SHAPES), PROMPTS, IMAGES, TEMPLATES)  # all that any shape looks at

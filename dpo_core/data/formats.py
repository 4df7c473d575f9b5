"""One row of any supported shape to a `Pair`, or the reason why not."""

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.data.messages import (
    BadRow,
    kind_of,
    require_clean,
    require_json,
    require_turns,
    require_words,
    tools_of,
)
from dpo_core.data.pairs import Message, Pair
from dpo_core.data.scored import number_of
from dpo_core.data.shapes import COMMON, IDS, IMAGES, META, TEMPLATES, TRL, MissingColumn, Sides, shape_of

__all__ = ["BadRow", "MissingColumn", "dropped_columns", "format_of", "to_pair"]

ANSWER_ROLES = ("assistant", "tool")


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
    _require_same_order(meta)
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
    """Columns that no part of the pipeline reads."""
    known = shape_of(row).columns
    return [name for name in row if name not in known and name not in COMMON]


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
    if _as_compared(sides.chosen) == _as_compared(sides.rejected):
        raise BadRow("chosen and rejected are identical")


def _as_compared(messages: Sequence[Message]) -> list[tuple[str, str, object]]:
    """Without white space at the ends and differences of Unicode that cannot be seen."""
    texts = (m["content"].strip() for m in messages)
    same = (text if unicodedata.is_normalized("NFKC", text) else unicodedata.normalize("NFKC", text) for text in texts)
    return [(m["role"], text, m.get("tool_calls")) for m, text in zip(messages, same, strict=True)]


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


def _require_same_order(meta: Mapping[str, Any]) -> None:
    """Raises BadRow where the scores contradict the label."""
    scores = meta.get("chosen_score"), meta.get("rejected_score")
    if all(isinstance(score, (int, float)) and not isinstance(score, bool) for score in scores):
        chosen, rejected = scores
        if chosen < rejected:  # type: ignore[operator]
            raise BadRow(f"the scores say the opposite: chosen {chosen:g}, rejected {rejected:g}")


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

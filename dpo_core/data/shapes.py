"""One row of any supported shape to a `Pair`, or the reason why not.

A shape is recognised by the row's columns: TRL's preference shapes, HH transcripts, scored answers (UltraFeedback,
distilabel), questions in columns (Alpaca, Orca), ShareGPT, LLaMA-Factory and ms-swift, and the files of managed
services (OpenAI, Azure, Together; Gemini); docs/data.md has a row of each. Here it is decided that
a row is unusable: it cannot become a pair. Whether a pair is suspicious is for dpo_core.quality to say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dpo_core.data.columns import (
    COMMON,
    IMAGES,
    TEMPLATES,
    MissingColumn,
    meta_of,
    require_remembered,
    require_text_alone,
    require_trained,
    row_id_of,
    sft_weight_of,
    source_of,
)
from dpo_core.data.conversations import (
    llama_factory_sides,
    openai_sides,
    shared_beginning,
    sharegpt_sides,
    side_of,
    without_prompt,
)
from dpo_core.data.messages import BadRow, as_compared, require_turns, require_words, say, tools_of
from dpo_core.data.pairs import Message, Pair
from dpo_core.data.questions import (
    ANSWERS,
    ASKING,
    CONTEXT,
    QUESTIONS,
    asks_in_columns,
    has_context,
    question_of,
    question_sides,
    require_used,
    swift_sides,
    with_context,
)
from dpo_core.data.rated_answers import DISTILABEL_ASKS, distilabel_sides, gemini_sides, ultrafeedback_sides
from dpo_core.data.transcripts import dialogue_sides, is_rendered, is_transcript, rendered_sides, turns_before

ANSWER_ROLES = ("assistant", "tool")
BEGINNERS = ("system", "developer", "user", "human")
REPEATED = 40  # characters of a prompt that two answers do not begin with by chance


@dataclass(frozen=True)
class Sides:
    """A row's content before it is checked.

    `plain`: text without chat structure, one message each. `read`: the columns that ask, of those that may.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    meta: Mapping[str, object] = field(default_factory=dict)
    tools: object = None
    plain: bool = False
    read: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shape:
    """A format: its name, the columns it reads, and those that it cannot do without."""

    name: str
    columns: frozenset[str]
    needs: tuple[str, ...]
    sides: Callable[[Mapping[str, object]], Sides]


def to_pair(row: Mapping[str, object], where: str) -> Pair:
    """The normalised pair. Raises BadRow."""
    require_remembered(row)
    require_text_alone(row)
    require_trained(row)
    shape = shape_of(row)
    for column in shape.needs:
        if column not in row:
            raise MissingColumn(column, row)
    sides = _in_context(row, shape.sides(row))
    require_used(row, frozenset((*sides.read, *shape.needs)), sides.prompt, sides.chosen)
    _require_comparison(sides)
    meta = meta_of(row) | dict(sides.meta)
    return Pair(
        prompt=tuple(sides.prompt),
        chosen=tuple(sides.chosen),
        rejected=tuple(sides.rejected),
        source=source_of(row),
        sft_weight=sft_weight_of(row),
        plain=sides.plain,
        tools=tools_of(row.get("tools") if sides.tools is None else sides.tools),
        meta=meta,
        where=where,
        row_id=row_id_of(row, meta),
    )


def _in_context(row: Mapping[str, object], sides: Sides) -> Sides:
    """With the turns of `system` and `history`: a row that has such columns is a chat."""
    if not has_context(row):
        return sides
    if sides.plain and not sides.read:
        raise BadRow("a column 'system' or 'history' beside whole texts: where the prompt ends is not said")
    return replace(sides, prompt=with_context(row, sides.prompt), plain=False)


def format_of(row: Mapping[str, object]) -> str:
    """The shape of a row, in words."""
    shape = shape_of(row)
    if shape is not TRL:
        return shape.name
    prompt = "explicit prompt" if "prompt" in row else "implicit prompt"
    return f"TRL {prompt}, {'messages' if isinstance(row.get('chosen'), list) else 'text'}"


def read_columns(row: Mapping[str, object]) -> frozenset[str]:
    """The columns that some part of the pipeline reads, and those of the asking side, none of which is left out."""
    return shape_of(row).columns.union(COMMON, CONTEXT, ASKING, IMAGES, TEMPLATES)


def shape_of(row: Mapping[str, object]) -> Shape:
    """The shape that a row's columns tell."""
    both = "chosen" in row and "rejected" in row
    if "preferred_output" in row or "non_preferred_output" in row:
        return OPENAI
    if "contents" in row:
        return GEMINI
    if "completions" in row and not both:
        return ULTRAFEEDBACK
    if "messages" in row and not both and ("rejected_response" in row or "rejected_messages" in row):
        return SWIFT
    if "chosen_messages" in row or "rejected_messages" in row:
        return LLAMA_FACTORY
    if "generations" in row and ("ratings" in row or "rating" in row) and not both:
        return DISTILABEL
    if "conversations" in row or ("messages" in row and "prompt" not in row and both and not _whole(row["chosen"])):
        return SHAREGPT
    return _shape_of_texts(row, both)


def _shape_of_texts(row: Mapping[str, object], both: bool) -> Shape:
    if _cut_transcript(row):
        return HH
    if is_rendered(row.get("prompt")) or (is_rendered(row.get("chosen")) and is_rendered(row.get("rejected"))):
        return RENDERED
    if asks_in_columns(row) and not ("prompt" in row and both):
        return QUESTION if not _whole(row.get("chosen")) else TRL
    dialogues = is_transcript(row.get("chosen")) and is_transcript(row.get("rejected")) and "prompt" not in row
    return HH if dialogues else TRL


def _whole(value: object) -> bool:
    """Whether a side is a conversation from its beginning."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and first.get("role", first.get("from")) in BEGINNERS


def _cut_transcript(row: Mapping[str, object]) -> bool:
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


def _hh(row: Mapping[str, Any]) -> Sides:
    if "prompt" not in row:
        return Sides(*dialogue_sides(row["chosen"], row["rejected"]))
    chosen, rejected = (say("assistant", row[side].strip()) for side in ("chosen", "rejected"))
    return Sides(turns_before(row["prompt"]), chosen, rejected, read=("prompt",))


def _trl(row: Mapping[str, object]) -> Sides:
    chosen, rejected = (side_of(row[side], side) for side in ("chosen", "rejected"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise BadRow("one side is text and the other messages")
    if "prompt" not in row:
        if isinstance(chosen, str) and any(str(name).lower() in QUESTIONS for name in row):
            raise MissingColumn("prompt", row)
        return Sides(*shared_beginning(chosen, rejected), plain=isinstance(chosen, str))
    prompt = side_of(row["prompt"], "prompt")
    if isinstance(chosen, list) and isinstance(rejected, list) and _whole(chosen) and _whole(rejected):
        prompt, chosen, rejected = without_prompt(prompt, chosen, rejected)
    repeated = isinstance(prompt, str) and all(isinstance(s, str) and s.startswith(prompt) for s in (chosen, rejected))
    if repeated and len(prompt) >= REPEATED:
        raise BadRow("both answers begin with the whole prompt")
    return Sides(
        say("user", prompt) if isinstance(prompt, str) else prompt,
        say("assistant", chosen) if isinstance(chosen, str) else chosen,
        say("assistant", rejected) if isinstance(rejected, str) else rejected,
        plain=isinstance(prompt, str) and isinstance(chosen, str),
        read=("prompt",),
    )


def _openai(row: Mapping[str, object]) -> Sides:
    prompt, chosen, rejected, given = openai_sides(row)
    meta = {name: given[name] for name in ("parallel_tool_calls",) if given.get(name) is not None}
    return Sides(prompt, chosen, rejected, meta, given.get("tools") or row.get("tools") or ())


def _question(row: Mapping[str, object]) -> Sides:
    name = question_of(row)
    sides = Sides(*question_sides(row))
    return replace(sides, read=(name, "input") if name == "instruction" else (name,))


def _shape(
    name: str,
    needs: Sequence[str],
    sides: Callable[[Mapping[str, Any]], Any],
    asks: Sequence[str] = (),
    more: Sequence[str] = (),
) -> Shape:
    """A shape of a function that gives prompt, sides and perhaps `meta`; the first of `asks` that is there is read."""

    def made(row: Mapping[str, object]) -> Sides:
        return replace(Sides(*sides(row)), read=next(((ask,) for ask in asks if row.get(ask)), ()))

    return Shape(name, frozenset((*needs, *more)), tuple(needs), made)


PAIR = ("chosen", "rejected")
TRL = Shape("TRL", frozenset(("prompt", *PAIR)), PAIR, _trl)
HH = Shape("HH transcript", TRL.columns, PAIR, _hh)
RENDERED = _shape("rendered with a chat template", PAIR, rendered_sides, ("prompt",))
OPENAI_NEEDS = ("input", "preferred_output", "non_preferred_output")
OPENAI = Shape("OpenAI preference", frozenset(OPENAI_NEEDS), OPENAI_NEEDS, _openai)
GEMINI = _shape(
    "Gemini preference", ("contents", "completions"), gemini_sides, more=("systemInstruction", "system_instruction")
)
ULTRAFEEDBACK = _shape(
    "scored answers (UltraFeedback)", ("completions",), ultrafeedback_sides, ("prompt", "instruction")
)
DISTILABEL = _shape(
    "scored answers (distilabel)",
    ("generations",),
    distilabel_sides,
    DISTILABEL_ASKS,
    ("rating", "ratings", "generation_models"),
)
SHAREGPT = _shape("ShareGPT", PAIR, sharegpt_sides, ("conversations", "messages"))
LLAMA_FACTORY = _shape("LLaMA-Factory messages", ("chosen_messages", "rejected_messages"), llama_factory_sides)
SWIFT = _shape("ms-swift messages", ("messages",), swift_sides, more=("rejected_response", "rejected_messages"))
QUESTION = Shape(
    "question in columns (Alpaca, Orca)",
    frozenset(("output", *(name for pair in ANSWERS for name in pair))),
    (),
    _question,
)
SHAPES = (TRL, HH, RENDERED, OPENAI, GEMINI, ULTRAFEEDBACK, DISTILABEL, SHAREGPT, LLAMA_FACTORY, SWIFT)
COLUMNS = COMMON.union(*(shape.columns for shape in (*SHAPES, QUESTION)), ASKING, CONTEXT, IMAGES, TEMPLATES)

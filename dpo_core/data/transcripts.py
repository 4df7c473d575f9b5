"""Conversations written out as one text, taken apart into messages again.

Anthropic's HH-RLHF has turns after `\\n\\nHuman:` and `\\n\\nAssistant:`. Chat templates have marks (`<|im_start|>`);
those of ChatML, Llama 3 and Gemma tell every turn. What has the marks of another template, or does not follow these to
the letter, is refused: to train on it as plain text would teach the marks as text.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from dpo_core.data.conversations import Conversations, shared_beginning
from dpo_core.data.messages import BadRow, say
from dpo_core.data.pairs import Message

SPEAKER = re.compile(r"\n\n(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def is_transcript(value: object) -> bool:
    """Whether a text begins with a turn of either side."""
    return isinstance(value, str) and SPEAKER.match(value) is not None


def turns_of(text: str) -> list[Message]:
    """The turns, stripped. A marker of the role that speaks already is part of its text (models wrote such)."""
    pieces = SPEAKER.split(text)
    turns: list[Message] = []
    for name, words in zip(pieces[1::2], pieces[2::2], strict=True):
        if turns and turns[-1]["role"] == SPEAKERS[name]:
            turns[-1]["content"] += f"\n\n{name}:{words}"
        else:
            turns += say(SPEAKERS[name], words)
    for turn in turns:
        turn["content"] = turn["content"].strip()
    return turns


def dialogue_sides(chosen: str, rejected: str) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt (all turns before the last, which is the assistant's on both sides) and the two answers."""
    sides = turns_of(chosen), turns_of(rejected)
    for side, turns in zip(("chosen", "rejected"), sides, strict=True):
        if turns[-1]["role"] != "assistant":
            raise BadRow(f"{side} ends with the Human's turn: there is no answer")
    if sides[0][:-1] != sides[1][:-1]:
        raise BadRow("chosen and rejected are answers to different dialogues")
    return sides[0][:-1], sides[0][-1:], sides[1][-1:]


def turns_before(prompt: str) -> list[Message]:
    """The turns of a transcript that ends where the assistant's turn begins."""
    turns = turns_of(prompt.rstrip())
    if turns[-1]["content"]:
        raise BadRow("the prompt ends within the assistant's turn")
    return turns[:-1]


class Marks(NamedTuple):
    """A template's marks: `turn` is a whole one (role, text), `opening` where the answer begins, `end` what ends it."""

    name: str
    turn: re.Pattern[str]
    opening: re.Pattern[str]
    end: re.Pattern[str]


def _marks(name: str, start: str, header: str, roles: str, end: str, begin: str = "") -> Marks:
    """`header` has %s where the role stands; `begin` may come before all else."""
    text = rf"((?:(?!{start}|{end}).)*)"
    return Marks(
        name,
        re.compile(rf"(?:{begin})?{header % f'({roles})'}{text}{end}\n?", re.DOTALL),
        re.compile(rf"{header % '(?:assistant|model)'}\s*\Z"),
        re.compile(rf"{end}\s*\Z"),
    )


ROLES = "system|user|assistant|tool"
KNOWN = (
    _marks("ChatML", r"<\|im_start\|>", r"<\|im_start\|>%s\n", ROLES, r"<\|im_end\|>", r"<\|endoftext\|>|<s>"),
    _marks(
        "Llama 3",
        r"<\|start_header_id\|>",
        r"<\|start_header_id\|>%s<\|end_header_id\|>\n\n",
        ROLES,
        r"<\|eot_id\|>",
        r"<\|begin_of_text\|>",
    ),
    _marks("Gemma", "<start_of_turn>", r"<start_of_turn>%s\n", "user|model", "<end_of_turn>", "<bos>"),
)
BEGINS = re.compile(
    r"\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>|<\uff5cbegin\u2581of\u2581sentence\uff5c>)?\s*"
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<\|(?:user|system|User)\|>|<\uff5cUser\uff5c>)"
)
MARK = re.compile(r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|<(?:start|end)_of_turn>|\[/?INST\]")


def is_rendered(text: object) -> bool:
    """Whether a text begins with a turn of a chat template."""
    return isinstance(text, str) and BEGINS.match(text) is not None


def rendered_sides(row: Mapping[str, Any]) -> Conversations:
    """The messages of a rendered prompt and its answers, or of two whole conversations."""
    if not is_rendered(row.get("prompt")):
        return shared_beginning(*(_turns(row[side], side)[0] for side in ("chosen", "rejected")))
    prompt, marks = _turns(row["prompt"], "prompt", open_ended=True)
    return prompt, *(_answer(row[side], side, row["prompt"], marks) for side in ("chosen", "rejected"))  # type: ignore[return-value]


def _answer(text: object, side: str, prompt: str, marks: Marks) -> list[Message]:
    if not isinstance(text, str):
        raise BadRow(f"the prompt is written out with a chat template, and {side} is not")
    text = marks.end.sub("", text.removeprefix(prompt))
    if MARK.search(text):
        raise BadRow(f"{side} has marks of a chat template inside its text")
    return say("assistant", text)


def _turns(text: str, column: str, *, open_ended: bool = False) -> tuple[list[Message], Marks]:
    """The turns of a conversation of one of the KNOWN templates, to the last character."""
    marks = next((known for known in KNOWN if known.turn.match(text)), None)
    if marks is None:
        raise BadRow(f"{column} is written out with a chat template whose turns are not known for certain")
    turns: list[Message] = []
    at = 0
    while found := marks.turn.match(text, at):
        role = {"model": "assistant"}.get(found[1], found[1])
        turns += say(role, found[2])
        at = found.end()
    rest = text[at:]
    ends = marks.opening.match(rest) if open_ended else not rest.strip()
    if not ends or any(MARK.search(turn["content"]) for turn in turns):
        wanted = "the assistant's turn begins at its end" if open_ended else "all of it is turns"
        raise BadRow(f"{column} is written out with a chat template ({marks.name}), but not so that {wanted}")
    return turns, marks

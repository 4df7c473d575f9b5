"""Whole dialogues as text, as Anthropic's HH-RLHF has them: turns after `\\n\\nHuman:` and `\\n\\nAssistant:`."""

import re

from dpo_core.data.messages import BadRow, say
from dpo_core.data.pairs import Message

MARK = re.compile(r"\n\n(Human|Assistant):")
ROLE = {"Human": "user", "Assistant": "assistant"}


def is_transcript(value: object) -> bool:
    """Whether a text begins with a turn of either side."""
    return isinstance(value, str) and MARK.match(value) is not None


def turns_of(text: str) -> list[Message]:
    """The turns, stripped. A marker of the role that speaks already is part of its text (models wrote such)."""
    pieces = MARK.split(text)
    turns: list[Message] = []
    for name, words in zip(pieces[1::2], pieces[2::2], strict=True):
        if turns and turns[-1]["role"] == ROLE[name]:
            turns[-1]["content"] += f"\n\n{name}:{words}"
        else:
            turns += say(ROLE[name], words)
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

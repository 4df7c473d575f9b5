"""Correction by a stronger model: what it is asked, and which of its replies are taken."""

from collections.abc import Iterable, Sequence

from pydantic import Field

from dpo_core.curate.correct import Corrected, Uncorrected, judged
from dpo_core.data.pairs import Message, text_of
from dpo_core.quality.text.refusals import refuses
from dpo_core.quality.words import count_words
from dpo_core.recipe_release import Fraction, Section
from dpo_core.rewards.judge import Ask

NAME = "rewritten"
NO_REPLY = "no reply came"
EMPTY_REPLY = "the reply is empty"
REFUSED = "the reply declines"
TOO_LONG = "the reply is much longer than the answer"
SHORT = 20  # words that a reply may have whatever the answer's length
FORM = (
    "Below are a conversation and the answer that an assistant gave at its end. Correct the answer as you were told, "
    "and change nothing else. Reply with the corrected answer alone: no comment, no quotation marks, no heading."
)


class Rewriting(Section):
    """How a stronger model corrects answers."""

    instruction: str = Field(min_length=1, description="what to correct, in words")
    max_longer: float = Field(
        2.0, gt=0, description="most words of a reply, times the answer's (20 words are always free)"
    )
    max_change: Fraction = Field(1.0, description="largest share of words that a reply may change; 1: any")
    refusals: bool = Field(False, description="whether a reply that declines is a correction")


def question(prompt: Sequence[Message], answer: str, instruction: str) -> list[Message]:
    """What the stronger model is asked: the instruction, the conversation and the answer."""
    turns = [f"[{message['role']}]\n{text_of([message])}" for message in prompt]
    asked = "\n\n".join([FORM, *turns, f"[answer to correct]\n{answer}"])
    return [{"role": "system", "content": instruction}, {"role": "user", "content": asked}]


def taken(answer: str, reply: str | None, rules: Rewriting) -> Corrected | Uncorrected:
    """A reply as a correction, or why it is none."""
    if reply is None:
        return Uncorrected(NO_REPLY)
    text = reply.strip()
    if not text:
        return Uncorrected(EMPTY_REPLY)
    if not rules.refusals and refuses(text) and not refuses(answer):
        return Uncorrected(REFUSED)
    if count_words(text) > max(SHORT, rules.max_longer * count_words(answer)):
        return Uncorrected(TOO_LONG)
    return judged(answer, text, (NAME,), rules.max_change)


def rewritten(
    rows: Iterable[tuple[Sequence[Message], str]], rules: Rewriting, ask: Ask
) -> list[Corrected | Uncorrected]:
    """The corrections of (prompt, answer), in order; `ask` is called once. Raises ValueError where replies lack."""
    asked = list(rows)
    replies = ask([question(prompt, answer, rules.instruction) for prompt, answer in asked])
    if len(replies) != len(asked):
        raise ValueError(f"{len(asked)} answers were to be corrected, but {len(replies)} replies came")
    return [taken(answer, reply, rules) for (_, answer), reply in zip(asked, replies, strict=True)]

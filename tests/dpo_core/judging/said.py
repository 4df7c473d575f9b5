"""Judgements made up for tests: few words an item, times that go on by a second each."""

import itertools

from dpo_core.data.messages import say
from dpo_core.judging.items import JudgedItem, compared
from dpo_core.judging.lines import Judged, Judgement, Line

NUMBERS = itertools.count()


def item(number: int = 0, good: str = "yes", bad: str = "no", **more: object) -> JudgedItem:
    return compared(
        say("user", f"question {number}?"),
        say("assistant", f"{good} {number}"),
        say("assistant", f"{bad} {number}"),
        **more,
    )


def side(judged: JudgedItem, word: str) -> str:
    """Which of the two answers begins with this word."""
    return "first" if judged.answers[0][0]["content"].startswith(word) else "second"


def says(judged: JudgedItem, by: str, choice: str, **more: object) -> Judgement:
    number = next(NUMBERS)
    when = f"2026-11-29T00:{number // 60 % 60:02}:{number % 60:02}+00:00"
    return Judgement.model_validate(
        {"id": f"j{number}", "item": judged.id, "by": by, "choice": choice, "when": when, **more}
    )


def of(*lines: Line) -> Judged:
    judged = Judged()
    for line in lines:
        judged.add(line)
    return judged

"""What an answer must be beside the words that it holds: a pattern, JSON, a number, a language, a length."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpo_core.quality.text.language import LANGUAGES
from dpo_core.quality.text.refusals import refuses, sentences
from dpo_core.quality.words import count_words, stands_in
from dpo_core.rewards.language import language_of
from dpo_core.rewards.patterns import matches, require_pattern
from dpo_core.rewards.schemas import fits, require_schema
from dpo_core.rewards.wishes import Wishes, listed

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_NUMBER = re.compile(  # behind a Latin letter, a digit or a dot it is a hyphen, no sign; Chinese writes no space there
    r"(?:(?<![0-9A-Za-z\u00c0-\u024f_.])[-+\u2212])?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
)
Range = tuple[int, float]  # least and most


@dataclass(frozen=True)
class Demands:
    """All of it must be met; what is left out asks for nothing."""

    match: Sequence[str] = ()  # regular expressions, of which each is found somewhere
    not_match: Sequence[str] = ()
    json_schema: Mapping[str, object] | bool | None = None
    number: float | None = None  # the last one in the answer
    tolerance: float = 0.0
    language: str = ""  # one of LANGUAGES
    declines: bool | None = None  # as the data check tells it: refusals.py
    words: Range = (0, math.inf)
    sentences: Range = (0, math.inf)

    def met(self, answer: str) -> bool:
        """Whether an answer is all that. Raises InputError where a pattern takes too long, or a schema leads away."""
        return (
            _within(count_words(answer), self.words)
            and _within(count_sentences(answer), self.sentences)
            and all(matches(pattern, answer) for pattern in self.match)
            and not any(matches(pattern, answer) for pattern in self.not_match)
            and (self.number is None or _is_number(answer, self.number, self.tolerance))
            and (not self.language or language_of(answer) == self.language)
            and (self.declines is None or refuses(answer) == self.declines)
            and (self.json_schema is None or _fits(answer, self.json_schema))
        )


NONE = Demands()


def demands_of(asked: Wishes) -> Demands:
    """What is asked for beside words."""
    return Demands(
        tuple(listed(asked.must_match)),
        tuple(listed(asked.must_not_match)),
        asked.json_schema,
        asked.number,
        asked.tolerance,
        asked.language,
        asked.declines,
        asked.words,
        asked.sentences,
    )


def holds(answer: str, any_of: Sequence[Sequence[str]], none_of: Sequence[str]) -> bool:
    """Whether a word or phrase of each entry of `any_of` stands in an answer, and none of `none_of`."""
    found = all(any(stands_in(answer, word) for word in entry) for entry in any_of)
    return found and not any(stands_in(answer, word) for word in none_of)


def count_sentences(text: str) -> int:
    """Sentences that hold a letter or a digit."""
    return sum(any(char.isalnum() for char in found) for found in sentences(text))


def require_usable(demands: Demands) -> None:
    """Raise ValueError, in words, for a pattern that does not compile or end, a schema or language that is none."""
    for pattern in (*demands.match, *demands.not_match):
        require_pattern(pattern)
    if demands.json_schema is not None:
        require_schema(demands.json_schema)
    if demands.language and demands.language not in LANGUAGES[1:]:
        raise ValueError(f"language {demands.language!r} is not told: one of {', '.join(LANGUAGES[1:])} is")


def _within(value: int, limits: Range) -> bool:
    return limits[0] <= value <= limits[1]


def _is_number(answer: str, wanted: float, tolerance: float) -> bool:
    found = _NUMBER.findall(answer)
    if not found:
        return False
    value = float(found[-1].replace(",", "").replace("\u2212", "-"))
    return math.isclose(value, wanted, rel_tol=1e-9, abs_tol=tolerance)


def _fits(answer: str, schema: Mapping[str, object] | bool) -> bool:
    fenced = _FENCED.match(answer)
    try:
        value = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return False
    return fits(value, schema)

"""What people said of an answer that was served: likes, dislikes, and the answer that they would have wanted."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dpo_core.data.messages import BadRow, as_compared, kind_of, messages_of, require_words, say
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError

GOOD: tuple[str, ...] = (
    "good",
    "yes",
    "y",
    "like",
    "liked",
    "up",
    "thumbs_up",
    "positive",
    "helpful",
    "correct",
    "true",
    "pass",
    "👍",
)
BAD: tuple[str, ...] = (
    "bad",
    "no",
    "n",
    "dislike",
    "disliked",
    "down",
    "thumbs_down",
    "negative",
    "unhelpful",
    "incorrect",
    "false",
)
BAD += ("wrong", "fail", "👎")
VOTES = ("feedback", "thumbs", "thumbs_up", "liked", "rating", "good", "helpful", "correct", "correctness", "quality")
EXPECTED: tuple[str, ...] = (
    "expected_answer",
    "expected_response",
    "expected_output",
    "expectation",
    "answer",
    "ground_truth",
)
EXPECTED += ("correction", "corrected_answer")
LIKED, DISLIKED = 0.75, 0.25  # of the way along the scale: from here on, up to here
JUDGE = "llm_judge"


class Said(NamedTuple):
    """One remark. `kind`: human, code (what an application logs for its users) or llm_judge; `when`: ms since 1970."""

    name: str
    value: Any
    by: str
    kind: str
    when: int


@dataclass(frozen=True)
class RemarkRules:
    """Which remarks count: feedback and expectations of these names (case and `-` aside), of people.

    Numbers lie on `scale`; in its uppermost quarter they are likes, in its lowest dislikes, between them neither.
    """

    votes: tuple[str, ...] = VOTES
    expectations: tuple[str, ...] = EXPECTED
    scale: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            do = "give the lowest and the highest number, as in [1, 5]"
            raise InputError(f"{list(self.scale)} is no scale", where="feedback.scale", do=do)


@dataclass(frozen=True)
class Opinion:
    """What came of all remarks on one answer: who likes it, who does not, and person -> expected answer."""

    likes: frozenset[str] = frozenset()
    dislikes: frozenset[str] = frozenset()
    expected: Mapping[str, list[Message]] | None = None

    def conflict(self, text: str) -> str:
        """Why nothing follows from it for the answer `text`; empty: something does."""
        if self.likes and self.dislikes:
            return f"feedback disagrees: {_people(self.likes)} like the answer, {_people(self.dislikes)} do not"
        wanted = self.expected or {}
        if len(distinct(wanted.values())) > 1:
            return "two different answers are expected"
        others = self.likes - wanted.keys()
        if wanted and others and distinct([*wanted.values(), say("assistant", text)]) != distinct(wanted.values()):
            return f"{_people(others)} like the answer, {_people(wanted)} expect another"
        return ""


def read_opinion(
    feedback: Iterable[Said], expectations: Iterable[Said], rules: RemarkRules, off_scale: Collection[str] = ()
) -> Opinion:
    """The opinion on one answer; of the remarks of one name by one person the newest counts.

    `off_scale`: names (as `off_scale` gives them) whose numbers mean nothing. Raises BadRow for a remark that cannot be
    read.
    """
    newest = {(said.by, _name(said)): said for said in _newest_last(feedback)}
    votes = {key: _vote(said, rules.scale, off_scale) for key, said in newest.items()}
    wanted = {by: _answer(said) for by, said in {said.by: said for said in _newest_last(expectations)}.items()}
    likes = frozenset(by for (by, _), vote in votes.items() if vote is True)
    dislikes = frozenset(by for (by, _), vote in votes.items() if vote is False)
    return Opinion(likes, dislikes, wanted)


def that_count(remarks: Iterable[Said], names: Sequence[str], ignored: Counter[str]) -> list[Said]:
    """Remarks of people under known names; the others are counted, so that nobody wonders where they are."""
    known, kept = {_plain(name) for name in names}, []
    for said in remarks:
        if said.kind == JUDGE:
            ignored["remarks of judges"] += 1
        elif _name(said) not in known:
            ignored[f"remarks named {said.name[:40]!r}"] += 1
        elif said.value is not None:
            kept.append(said)
    return kept


def off_scale(feedback: Iterable[Said], scale: tuple[float, float]) -> frozenset[str]:
    """Names under which a number lies outside of the scale: it is another scale, and 1 may be its lowest star."""
    low, high = scale
    return frozenset(_name(said) for said in feedback if _is_number(said.value) and not low <= said.value <= high)


def distinct(answers: Iterable[Sequence[Message]]) -> set[str]:
    """Answers that differ in what can be seen."""
    return {repr(as_compared(answer)) for answer in answers}


def _vote(said: Said, scale: tuple[float, float], off: Collection[str]) -> bool | None:
    value = said.value
    if isinstance(value, bool):
        return value
    if _is_number(value):
        low, high = scale
        if _name(said) in off or math.isnan(value):
            raise BadRow(f"feedback {said.name!r} has numbers outside of {low:g} to {high:g}: set feedback.scale")
        share = (value - low) / (high - low)
        return True if share >= LIKED else False if share <= DISLIKED else None
    word = _plain(value).rstrip("!.") if isinstance(value, str) else ""
    if word not in GOOD + BAD:
        shown = repr(value[:40]) if isinstance(value, str) else kind_of(value)
        raise BadRow(f"feedback {said.name!r} is {shown}: neither good nor bad")
    return word in GOOD


def _answer(said: Said) -> list[Message]:
    """The expected answer: a text, or a message of the assistant."""
    given = said.value
    place = f"the expectation {said.name!r}"
    if isinstance(given, Mapping):
        given = [{"role": "assistant", **given}]
    wanted = say("assistant", given) if isinstance(given, str) else messages_of(given, place)
    if any(message["role"] != "assistant" for message in wanted) or len(wanted) != 1:
        raise BadRow(f"{place} is not one message of the assistant")
    require_words(wanted, place)
    return wanted


def _newest_last(remarks: Iterable[Said]) -> list[Said]:
    return sorted(remarks, key=lambda said: (said.when, said.name, repr(said.value)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(said: Said) -> str:
    return _plain(said.name)


def _plain(text: str) -> str:
    return "_".join(text.casefold().replace("-", " ").split())


def _people(names: Collection[str]) -> str:
    return "1 person" if len(names) == 1 else f"{len(names)} people"

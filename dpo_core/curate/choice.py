"""From the scored answers of one prompt to the pairs that could be made of them, best first.

An answer is chosen for its reward alone, so that every rule here keeps out what a reward cannot: ties, answers that
nearly equal each other (pairs with much in common teach little, arXiv:2412.15282), answers cut off at the limit of
tokens. Which of a group's pairs is taken, `selection` decides over all groups.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, NamedTuple

from pydantic import Field

from dpo_core.curate.likeness import bare, likeness
from dpo_core.recipe_release import Amount, Fraction, Section

NO_ANSWERS = "no answer is left"
EMPTY = "all answers are empty"
BROKEN = "what is left has lost characters (U+FFFD)"
NO_SCORE = "no answer has a score"
ALONE = "one answer alone"
TIE = "all scores are equal"
MARGIN = "no two scores differ by the margin"
UNENDED = "no better answer has ended"
SAME = "the answers differ in white space or an end marker alone"
ALIKE = "the answers nearly equal each other"
LENGTH = "length would give the chosen answer away"
LOST = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for a part of a character: such a pair cannot be read
REASONS = (NO_ANSWERS, EMPTY, BROKEN, NO_SCORE, ALONE, TIE, MARGIN, UNENDED, SAME, ALIKE, LENGTH)


class Choice(Section):
    """How a pair is chosen among the scored answers of a prompt."""

    margin: Amount = Field(
        0.0, description="least difference of the scores of a pair, in the reward's unit; equal scores make none"
    )
    rejected: Literal["worst", "low"] = Field(
        "worst",
        description="rejected answer: the one of the lowest score; or the one nearest to the mean minus two standard "
        "deviations of the prompt's scores, for many samples (arXiv:2502.16825)",
    )
    alike: Fraction = Field(
        0.9, description="answers of which this share of words is equal, in order, or more, make no pair"
    )
    ended: Literal["chosen", "both", "any"] = Field(
        "chosen", description="which answers must have ended before the limit of tokens"
    )
    longer_wins: Fraction | None = Field(
        None,
        ge=0.5,
        description="largest share of pairs that the longer (or shorter) answer wins; unset: validation.length_warn; "
        "1: any",
    )
    log_length: Amount | None = Field(
        None, description="largest mean log ratio of the lengths, chosen to rejected, both ways (0.05: 5 %); unset: any"
    )


@dataclass(frozen=True, order=True)
class Candidate:
    """One answer to a prompt. `score`: its reward, more is better; `tokens`: its length, 0 where nobody counted."""

    text: str
    score: float
    tokens: int = 0
    ended: bool = True


@dataclass(frozen=True)
class Group:
    """A prompt by its key (a digest, say) and its answers, in any order."""

    key: str
    candidates: tuple[Candidate, ...]


class Option(NamedTuple):
    """A pair that could be made. `contrast`: what it is worth, in the reward's unit (see `options_of`)."""

    chosen: Candidate
    rejected: Candidate
    contrast: float


def options_of(group: Group, rules: Choice) -> tuple[list[Option], str]:
    """The pairs that a group admits, best first; where there are none, the reason (one of REASONS).

    Contrast is (chosen - target) - |rejected - target|, target being the score that the rejected answer should have:
    the lowest of the group, or its mean minus two standard deviations. For `worst` that is the difference of scores.
    """
    scored, reason = _usable(group)
    if reason:
        return [], reason
    scores = [candidate.score for candidate in scored]
    target = min(scores)
    if rules.rejected == "low":
        target = statistics.fmean(scores) - 2 * statistics.pstdev(scores)
    pairs = [(better, worse) for better, worse in permutations(scored, 2) if better.score > worse.score]
    for reason, admits in (
        (MARGIN, lambda better, worse: better.score - worse.score >= rules.margin),
        (UNENDED, lambda better, worse: _ended(better, worse, rules)),
        (SAME, lambda better, worse: bare(better.text) != bare(worse.text)),
        (ALIKE, lambda better, worse: likeness(better.text, worse.text) < rules.alike),
    ):
        pairs = [pair for pair in pairs if admits(*pair)]
        if not pairs:
            return [], reason
    options = [Option(*pair, pair[0].score - target - abs(pair[1].score - target)) for pair in pairs]
    return sorted(options, key=lambda option: (-option.contrast, -option.chosen.score, option)), ""


def is_informative(group: Group, rules: Choice) -> bool:
    """Whether a pair could be made of a group, length aside."""
    return bool(options_of(group, rules)[0])


def differs(scores: tuple[float, ...], margin: float) -> bool:
    """Whether the highest and the lowest of some scores are different, and by the margin."""
    spread = max(scores) - min(scores)
    return spread > 0 and spread >= margin


def _usable(group: Group) -> tuple[list[Candidate], str]:
    """The answers with words and a score, in an order of their own, each once; or why they make no pair."""
    if not group.candidates:
        return [], NO_ANSWERS
    written = [candidate for candidate in group.candidates if bare(candidate.text)]
    if not written:
        return [], EMPTY
    whole = [candidate for candidate in written if LOST not in candidate.text]
    if not whole:
        return [], BROKEN
    scored = sorted({candidate for candidate in whole if math.isfinite(candidate.score)})
    if not scored:
        return [], NO_SCORE
    if len(scored) < 2:
        # one text drawn several times is a tie
        return [], TIE if len(whole) > 1 and len({c.text for c in whole}) == 1 else ALONE
    if len({candidate.score for candidate in scored}) == 1:
        return [], TIE
    return scored, ""


def cut_off(groups: Sequence[Group], rules: Choice) -> str:
    """What to do first where most answers were cut off by the limit and such make no pair; empty: they are not."""
    answers = [candidate for group in groups for candidate in group.candidates]
    cut = sum(not answer.ended for answer in answers)
    if rules.ended == "any" or 2 * cut <= len(answers):
        return ""
    return (
        f"raise answers.max_new_tokens, or ask for shorter answers: {cut} of {len(answers)} were cut off there, and a "
        "cut one is not chosen (choice.ended); else "
    )


def _ended(better: Candidate, worse: Candidate, rules: Choice) -> bool:
    return rules.ended == "any" or (better.ended and (worse.ended or rules.ended == "chosen"))

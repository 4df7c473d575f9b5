"""What is watched over the rounds of a curation, and when it has run away.

A model that learns from its own answers may find what the reward pays for beside the answer: it grows longer, or says
one thing to every prompt. Both show in the answers of a round, before any evaluation does.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import Field

from dpo_core.curate.choice import Choice, Group, is_informative
from dpo_core.quality.words import count_words, words
from dpo_core.recipe_release import Fraction, Section
from dpo_core.records import Record

LOOKED_AT = 32  # words of an answer that diversity is told by, so that longer answers alone do not lower it


class RoundFacts(Record):
    """The answers of one round. Means are over answers; nan where there are none."""

    number: int = Field(description="round, from 1")
    answers: int
    words: float = Field(description="mean length of an answer, in words")
    tokens: float = Field(description="mean length of an answer, in tokens; 0: not counted")
    distinct: float = Field(description="different pairs of neighbouring words among all, in the answers of one prompt")
    openings: float = Field(description="entropy of the answers' first words, in bits")
    informative: float = Field(description="share of prompts whose answers make a pair")
    reward: float = Field(description="mean score")


class Runaway(Section):
    """When rounds are stopped: the answers of a round are compared with those of the first, before its training."""

    longer: float = Field(
        1.5, gt=1, description="mean length in words, times that of the first, or its inverse: beyond, stop"
    )
    distinct: Fraction = Field(
        0.7, description="share of different word pairs in a prompt's answers, of that of the first: below, stop"
    )
    openings: Fraction = Field(0.7, description="entropy of the first words, of that of the first: below, stop")
    informative: Fraction = Field(0.05, description="share of prompts whose answers make a pair: below, stop")


def facts_of(number: int, groups: Sequence[Group], rules: Choice) -> RoundFacts:
    """Measure a round by its scored answers."""
    answers = [candidate for group in groups for candidate in group.candidates]
    scores = [answer.score for answer in answers if math.isfinite(answer.score)]
    return RoundFacts(
        number=number,
        answers=len(answers),
        words=_mean([count_words(answer.text) for answer in answers]),
        tokens=_mean([answer.tokens for answer in answers]),
        distinct=_mean([share for group in groups if not math.isnan(share := distinct_pairs(_texts(group)))]),
        openings=opening_entropy([answer.text for answer in answers]),
        informative=_mean([is_informative(group, rules) for group in groups]),
        reward=_mean(scores),
    )


def distinct_pairs(texts: Sequence[str]) -> float:
    """Share of different pairs of neighbouring words in some texts (distinct-2, Li et al. 2016, arXiv:1510.03055).

    Of the first 32 words of each; nan where no text has two.
    """
    found = [pair for text in texts for pair in pairwise(words(text)[:LOOKED_AT])]
    return len(set(found)) / len(found) if found else math.nan


def opening_entropy(texts: Sequence[str]) -> float:
    """Entropy of the texts' first words, case aside, in bits; texts without words count as one."""
    counts = np.array(list(Counter((words(text) or [""])[0] for text in texts).values()), dtype=float)
    shares = counts / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0 if len(counts) else math.nan


def runaway(rounds: Sequence[RoundFacts], rules: Runaway) -> list[str]:
    """Why nothing should be trained on the newest round's answers, a sentence each; none: go on.

    The first only lacks pairs.
    """
    if not rounds:
        return []
    first, last = rounds[0], rounds[-1]
    found = []
    if last.informative < rules.informative:
        found.append(
            f"round {last.number}: the answers of {last.informative:.1%} of the prompts make a pair, fewer than "
            f"{rules.informative:.1%}: the reward no longer tells answers apart (rounds.stop.informative)"
        )
    if last is first:
        return found
    times = last.words / first.words if first.words else math.nan
    if times > rules.longer or times * rules.longer < 1:
        found.append(
            f"round {last.number}: answers have {last.words:.1f} words, {times:.2f} times the {first.words:.1f} of "
            f"round {first.number}: the reward may pay for {'length' if times > 1 else 'brevity'} (rounds.stop.longer)"
        )
    for name, what in (
        ("distinct", "different word pairs in a prompt's answers"),
        ("openings", "entropy of first words"),
    ):
        before, now, least = getattr(first, name), getattr(last, name), getattr(rules, name)
        if now < least * before:
            found.append(
                f"round {last.number}: {what} fell to {now:.3g} from {before:.3g} in round {first.number}, below "
                f"{least:.0%} of it: the answers become one (rounds.stop.{name})"
            )
    return found


def _texts(group: Group) -> list[str]:
    return [candidate.text for candidate in group.candidates]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan

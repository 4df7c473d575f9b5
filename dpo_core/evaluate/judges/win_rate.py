"""Whose answers a judge finds better, and how often that were so with the length of answers held equal."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from dpo_core.data.pairs import Message
from dpo_core.evaluate.intervals import Interval
from dpo_core.evaluate.judges.logistic import fit
from dpo_core.rewards.judge import Judge, Match

CALIPER = 0.1  # log ratio: two answers are longer by as much, if by within a tenth
ALIKE = 0.01  # of tanh: an even length lies a hundred times farther off than the lengths that were seen lie apart


class Contest(NamedTuple):
    """Two models' answers to one prompt."""

    prompt: Sequence[Message]
    challenger: str
    champion: str


def wins_of(judge: Judge, contests: Sequence[Contest]) -> list[float]:
    """Of each contest 1 won, 0.5 tied, 0 lost, by a judge that is asked in both orders; nothing of equal answers.

    Raises InputError where too many replies cannot be read.
    """
    matches = [Match(*contest) for contest in contests if contest.challenger != contest.champion]
    asked = iter(judge.verdicts(matches))
    return [0.5 if contest.challenger == contest.champion else next(asked).value for contest in contests]


def at_equal_length(
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
    more: np.ndarray[tuple[int], np.dtype[np.float64]],
    clusters: Sequence[str],
    rate: Interval,
) -> Interval:
    """AlpacaEval 2's length control (Dubois et al. 2024, arXiv:2404.04475) without its terms for single prompts.

    P(won) = sigmoid(a + b tanh(d / sd(d))), d: characters by which the challenger's answer is longer; sigmoid(a).
    """
    x = np.stack([np.ones_like(more), np.tanh(more / (more.std() or 1.0))], axis=1)
    if np.ptp(x[:, 1]) < ALIKE:  # always longer, by as much as tanh can tell
        return rate if not more.any() else Interval(rate.value, 0.0, 1.0)
    found = fit(x, values, clusters).interval(0)
    return Interval(*(float(special.expit(end)) for end in found))


def even_in_length(ours: Sequence[str], theirs: Sequence[str]) -> list[bool]:
    """Contests of which ours is the longer answer as often as the shorter one, by as much: of a judge of length a half.

    Each with another of the opposite sign (CALIPER), as many as there are, and those of equal length. Told by the
    lengths alone, so that what is measured on them is measured as on any others.
    """
    ratios = [math.log1p(len(one)) - math.log1p(len(other)) for one, other in zip(ours, theirs, strict=True)]
    kept = [ratio == 0 for ratio in ratios]
    longer, shorter = (
        sorted((abs(ratio), place) for place, ratio in enumerate(ratios) if ratio * sign > 0) for sign in (1, -1)
    )
    one = other = 0
    while one < len(longer) and other < len(shorter):
        gap = longer[one][0] - shorter[other][0]
        if abs(gap) <= CALIPER:
            kept[longer[one][1]] = kept[shorter[other][1]] = True
        one, other = one + (gap <= CALIPER), other + (gap >= -CALIPER)
    return kept

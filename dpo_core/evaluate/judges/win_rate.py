"""How often a model's answers are judged better than another's, as it is and with the length of answers held equal."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from dpo_core.data.digests import prompt_digest
from dpo_core.data.pairs import Message
from dpo_core.evaluate.intervals import Interval, mean_interval
from dpo_core.evaluate.judges.logistic import fit
from dpo_core.rewards.judge import Judge, Match, Verdict

CALIPER = 0.1  # log ratio: two answers are longer by as much, if by within a tenth
ALIKE = 0.01  # of tanh: an even length lies a hundred times farther off than the lengths that were seen lie apart


class Contest(NamedTuple):
    """Two models' answers to one prompt."""

    prompt: Sequence[Message]
    challenger: str
    champion: str


class WinRate(NamedTuple):
    """Shares of contests with 95 % intervals over prompts. `values`: each contest, 1 won, 0.5 tied, 0 lost.

    `length_controlled`: the rate at equal lengths; `rate` where lengths never differ, None for a single prompt.
    """

    rate: Interval
    length_controlled: Interval | None
    values: list[float]
    unread: int

    @property
    def tied(self) -> float:
        """Share of contests."""
        return self.values.count(0.5) / len(self.values)


def win_rate(judge: Judge, contests: Sequence[Contest]) -> WinRate:
    """Of the challenger, by a judge that is asked in both orders; of equal answers nothing is asked, they tie.

    Raises InputError where too many replies cannot be read.
    """
    matches = [Match(*contest) for contest in contests if contest.challenger != contest.champion]
    asked = iter(judge.verdicts(matches))
    same = Verdict("tie", "tie")
    return rate_of(contests, [same if contest.challenger == contest.champion else next(asked) for contest in contests])


def rate_of(contests: Sequence[Contest], verdicts: Sequence[Verdict]) -> WinRate:
    """The same of verdicts (the challenger is `first`) that are there already."""
    clusters = [prompt_digest(contest.prompt) for contest in contests]
    values = [verdict.value for verdict in verdicts]
    rate = mean_interval(values, clusters)
    more = np.array([len(contest.challenger) - len(contest.champion) for contest in contests], dtype=np.float64)
    controlled = at_equal_length(np.array(values), more, clusters, rate) if len(set(clusters)) > 1 else None
    return WinRate(rate, controlled, values, sum(not verdict.read for verdict in verdicts))


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

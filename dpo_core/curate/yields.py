"""How many pairs to expect of many prompts, from a pilot of some thirty: before anything is spent.

A group is informative if two of its answers differ in score by the margin. From n answers of a prompt the chance that
m < n of them would have been can be told without bias, whatever the reward: the share of its subsets of m answers.
For a reward of 0 and 1 with k right that is 1 - C(k, m) / C(n, m) - C(n - k, m) / C(n, m), whose mean is
1 - p^m - (1 - p)^m. Beyond n a beta-binomial, fitted to the pilot, is relied on; for other rewards nothing is said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from dpo_core.curate.choice import Choice, Group, differs, options_of

NUMBERS = (2, 4, 8, 16)  # answers a prompt that the yield is told for
LEVEL = 0.95
WIDEST = 8.0  # natural logarithms of the beta's parameters lie within this of 0


@dataclass(frozen=True)
class ExpectedYield:
    """What a pilot promises.

    `unscored`: of its prompts, those that were refused, or whose answers have no score: they give no pair.
    `share`, `low`, `high`: of prompts that give a pair, with the exact interval of 95 % (Clopper and Pearson 1934).
    `by_number`: share of prompts with an informative group (score alone) for so many answers a prompt; beyond the
    pilot's own number only for rewards of 0 and 1. `seconds`, `tokens`: an answer's, mean.
    """

    prompts: int
    unscored: int
    giving: int
    answers: float
    low: float
    high: float
    by_number: Mapping[int, float]
    seconds: float
    tokens: float

    @property
    def share(self) -> float:
        """Of the pilot's prompts that gave a pair."""
        return self.giving / self.prompts

    @property
    def pairs_per_1000(self) -> float:
        """Pairs a thousand answers."""
        return 1000 * self.share / self.answers if self.answers else 0.0

    def says(self, prompts: int) -> str:
        """What to expect of so many prompts, in words."""
        low, high = math.floor(self.low * prompts), math.ceil(self.high * prompts)
        total = self.answers * prompts
        tokens = f"{round(total * self.tokens):,} tokens, " if self.tokens else ""  # an endpoint's are not counted here
        others = ", ".join(f"{number}: {share:.0%}" for number, share in self.by_number.items())
        lost = f" ({self.unscored} were refused or have no score)" if self.unscored else ""
        return (
            f"{self.giving} of {self.prompts} pilot prompts{lost} gave a pair ({self.share:.0%}, 95 % between "
            f"{self.low:.0%} and {self.high:.0%}), {self.pairs_per_1000:.0f} pairs a thousand answers. "
            f"{prompts:,} prompts will give {round(self.share * prompts):,} pairs ({low:,} to {high:,}) of "
            f"{round(total):,} answers, {tokens}{duration(total * self.seconds)}. Prompts whose answers differ in "
            f"score, by answers a prompt: {others or 'not known'}"
        )


def expected_yield(
    groups: Sequence[Group],
    rules: Choice,
    *,
    seconds: float,
    prompts: int = 0,
    drawn: int = 0,
    numbers: Sequence[int] = NUMBERS,
) -> ExpectedYield:
    """The yield of a pilot's groups, of so many `prompts` (0: as many as groups).

    `seconds` is what `drawn` of its answers took; the others were stored (0: none).

    Raises ValueError without a group.
    """
    if not groups:
        raise ValueError("no groups: a pilot needs at least one prompt")
    prompts = max(prompts, len(groups))
    giving = sum(bool(options_of(group, rules)[0]) for group in groups)
    interval = stats.binomtest(giving, prompts).proportion_ci(LEVEL, method="exact")
    answers = sum(len(group.candidates) for group in groups)
    tokens = sum(candidate.tokens for group in groups for candidate in group.candidates)
    by_number = informative_share([tuple(c.score for c in group.candidates) for group in groups], numbers, rules.margin)
    return ExpectedYield(
        prompts,
        prompts - len(groups),
        giving,
        answers / prompts,
        float(interval.low),
        float(interval.high),
        {number: share * len(groups) / prompts for number, share in by_number.items()},
        seconds / max(drawn or answers, 1),
        tokens / max(answers, 1),
    )


def informative_share(
    scores: Sequence[Sequence[float]], numbers: Sequence[int] = NUMBERS, margin: float = 0.0
) -> dict[int, float]:
    """Number of answers a prompt: expected share of prompts whose scores differ by the margin.

    `scores`: of each prompt's answers; those that are no number are left out. Numbers that nothing can be said of are
    left out too.
    """
    finite = [sorted(score for score in group if math.isfinite(score)) for group in scores]
    finite = [group for group in finite if group]
    if not finite:
        return {}
    least = min(map(len, finite))
    binary = all(score in (0.0, 1.0) for group in finite for score in group) and margin <= 1
    fitted = _fitted([(int(sum(group)), len(group)) for group in finite]) if binary else None
    found = {}
    for number in numbers:
        if number <= least:
            found[number] = float(np.mean([_differing(group, number, margin) for group in finite]))
        elif fitted is not None:
            found[number] = _expected(*fitted, number)
    return found


def _differing(ascending: Sequence[float], number: int, margin: float) -> float:
    """Share of the subsets of so many scores whose highest and lowest differ by the margin."""
    alike = 0
    end = 0
    for start in range(len(ascending)):
        end = max(end, start)
        while end < len(ascending) and not differs((ascending[start], ascending[end]), margin):
            end += 1
        alike += math.comb(end - start - 1, number - 1)  # the subsets that begin here and reach no further
    return 1 - alike / math.comb(len(ascending), number)


def _fitted(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The beta distribution of chances that makes (right, answers) of the prompts most likely."""
    right, of = np.array(counts).T

    def surprise(logs: NDArray[np.float64]) -> float:
        return -float(stats.betabinom.logpmf(right, of, *np.exp(logs)).sum())

    starts = ([0.0, 0.0], [-2.0, -2.0], [3.0, 3.0])
    tries = [optimize.minimize(surprise, start, bounds=[(-WIDEST, WIDEST)] * 2) for start in starts]
    first, second = np.exp(min(tries, key=lambda found: float(found.fun)).x)
    return float(first), float(second)


def _expected(first: float, second: float, number: int) -> float:
    """1 - E p^n - E (1 - p)^n for p of a beta distribution."""
    whole = special.betaln(first, second)
    every = np.exp(special.betaln(first + number, second) - whole)
    none = np.exp(special.betaln(first, second + number) - whole)
    return float(np.clip(1 - every - none, 0, 1))


def duration(seconds: float) -> str:
    """A time in words, of two units at most."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"

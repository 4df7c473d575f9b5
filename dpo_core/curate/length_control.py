"""Which option of each group to take so that length gives no side away, at the least loss of contrast.

The same shares that the data check judges (quality.shortcuts.balance): pairs that the longer answer wins, ties half,
in tokens (words where no tokens were counted) and in characters. They are linear in what is taken, so the choice is an
integer programme, solved exactly in blocks of groups: what holds in each block holds for all.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from dpo_core.curate.choice import Candidate, Group, Option
from dpo_core.quality.words import count_words

BLOCK = 500  # groups solved at once: a tenth of a second
FEW = 5  # groups below which a share says nothing: the longer answer may win one pair more, or one less
NEAR = 1e-9

Floats = NDArray[np.float64]
Size = tuple[int, int]  # of an answer: tokens or words, and characters


class Limits(NamedTuple):
    """`share`: of pairs that the longer, or shorter, answer wins. `log_ratio`: the mean, either way; inf: any."""

    share: float
    log_ratio: float = math.inf


class Weighed(NamedTuple):
    """An option: its contrast, 1 or -1 where the chosen side is longer or shorter (0: equal), log ratio of lengths."""

    contrast: float
    longer: tuple[int, int]
    log_ratio: float


def unit_of(groups: Sequence[Group]) -> str:
    """What lengths are counted in beside characters: tokens where any answer has them."""
    return "tokens" if any(candidate.tokens for group in groups for candidate in group.candidates) else "words"


def weigh(option: Option, unit: str) -> Weighed:
    """What an option weighs."""
    chosen, rejected = (_size(candidate, unit) for candidate in (option.chosen, option.rejected))
    first, second = (int(np.sign(a - b)) for a, b in zip(chosen, rejected, strict=True))
    return Weighed(option.contrast, (first, second), math.log1p(chosen[0]) - math.log1p(rejected[0]))


def _size(candidate: Candidate, unit: str) -> Size:
    return (candidate.tokens if unit == "tokens" else count_words(candidate.text)), len(candidate.text)


def longer_wins(taken: Sequence[Weighed]) -> tuple[float, float]:
    """Share of pairs that the longer answer wins, ties half, in each unit; nan of no pairs."""
    if not taken:
        return math.nan, math.nan
    first, second = (sum(option.longer[unit] for option in taken) / (2 * len(taken)) for unit in (0, 1))
    return 0.5 + first, 0.5 + second


class _Sums(NamedTuple):
    """Of the options taken: how many, longer less shorter in both units, log ratios."""

    pairs: int
    longer: tuple[int, int]
    log_ratio: float

    def plus(self, option: Weighed) -> "_Sums":
        first, second = (a + b for a, b in zip(self.longer, option.longer, strict=True))
        return _Sums(self.pairs + 1, (first, second), self.log_ratio + option.log_ratio)

    def are_within(self, limits: Limits, groups: int) -> bool:
        few = groups < FEW and limits.share < 1
        room = 1.0 if few else (2 * limits.share - 1) * self.pairs
        even = all(abs(difference) <= room + NEAR for difference in self.longer)
        return even and not abs(self.log_ratio) > limits.log_ratio * max(self.pairs, 1) + NEAR


def is_within(taken: Sequence[Weighed], limits: Limits, groups: int) -> bool:
    """Whether these options of so many groups keep to the limits."""
    return _summed(taken).are_within(limits, groups)


def _summed(taken: Sequence[Weighed]) -> _Sums:
    first, second = (sum(option.longer[unit] for option in taken) for unit in (0, 1))
    return _Sums(len(taken), (first, second), math.fsum(option.log_ratio for option in taken))


def take(options: Sequence[Sequence[Weighed]], limits: Limits) -> list[int | None]:
    """The place of one option of each group, the best first; None: left out, because the limits admit none.

    Most pairs first, then most contrast. Exact for up to BLOCK groups; of more, in blocks of neighbours in the order
    given, after which what was left out is taken back where all groups together have room.
    """
    best: list[int | None] = [0] * len(options)
    if is_within([group[0] for group in options], limits, len(options)):
        return best
    blocks = np.array_split(np.arange(len(options)), math.ceil(len(options) / BLOCK))
    taken = [place for block in blocks for place in _solved([options[row] for row in block], limits)]
    return _taken_back(options, taken, limits) if len(blocks) > 1 else taken


def _solved(options: Sequence[Sequence[Weighed]], limits: Limits) -> list[int | None]:
    """The optimum of one block."""
    kept = [_distinct(group, limits) for group in options]
    flat = [group[place] for group, places in zip(options, kept, strict=True) for place in places]
    owner = np.repeat(np.arange(len(options)), [len(places) for places in kept])
    ones = np.ones(len(flat))
    one_each = sparse.csr_array((ones, (owner, np.arange(len(flat)))), shape=(len(options), len(flat)))
    bounds = [_limited(flat, limits, len(options))]
    worth = np.array([option.contrast for option in flat])
    worth = worth / max(float(np.abs(worth).max()), NEAR)
    found = _best(worth, [*bounds, LinearConstraint(one_each, 1, 1)])
    if found is None:
        at_most = LinearConstraint(one_each, 0, 1)
        most = _best(ones, [*bounds, at_most])
        count = 0 if most is None else int(most.sum())
        found = _best(worth, [*bounds, at_most, LinearConstraint(ones[None, :], count, count)])
    if found is None:
        raise RuntimeError("the empty choice keeps to every limit, but the solver found none")
    taken: list[int | None] = [None] * len(options)
    places = [place for group in kept for place in group]
    for column in np.flatnonzero(found):
        taken[int(owner[column])] = places[column]
    return taken


def _distinct(group: Sequence[Weighed], limits: Limits) -> list[int]:
    """Of options that no limit tells apart the best one."""
    seen: dict[object, int] = {}
    for place, option in enumerate(group):
        seen.setdefault(option.longer if math.isinf(limits.log_ratio) else (option.longer, option.log_ratio), place)
    return list(seen.values())


def _limited(flat: Sequence[Weighed], limits: Limits, groups: int) -> LinearConstraint:
    """Both ways: pairs that the longer answer wins less those that it loses, in each unit; and the log ratios."""
    fixed, share = (1.0, 0.0) if groups < FEW and limits.share < 1 else (0.0, 2 * limits.share - 1)
    signs = np.array([option.longer for option in flat], dtype=np.float64).T
    rows, ends = [*(signs - share), *(-signs - share)], [fixed] * 4
    if not math.isinf(limits.log_ratio):
        ratios = np.array([option.log_ratio for option in flat])
        rows, ends = [*rows, ratios - limits.log_ratio, -ratios - limits.log_ratio], [*ends, 0.0, 0.0]
    return LinearConstraint(np.stack(rows), -np.inf, ends)


def _best(worth: Floats, constraints: Sequence[LinearConstraint]) -> NDArray[np.bool_] | None:
    """Which to take for the most worth; None where nothing keeps to the constraints."""
    size = len(worth)
    found = milp(
        -worth,
        integrality=np.ones(size, dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    return None if found.x is None else np.asarray(found.x > 0.5)


def _taken_back(options: Sequence[Sequence[Weighed]], taken: list[int | None], limits: Limits) -> list[int | None]:
    """With every group that was left out in its block and has an option that all blocks together have room for."""
    left = [row for row, place in enumerate(taken) if place is None]
    sums = _summed([group[place] for group, place in zip(options, taken, strict=True) if place is not None])
    again = True
    while again:
        again = False
        for row in list(left):
            fits = (n for n, o in enumerate(options[row]) if sums.plus(o).are_within(limits, len(options)))
            place = next(fits, None)
            if place is not None:
                taken[row], again, sums = place, True, sums.plus(options[row][place])
                left.remove(row)
    return taken

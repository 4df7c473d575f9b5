"""One pair of each group that admits one, over all groups: the best, but where length would give the sides away."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dpo_core.curate.choice import LENGTH, REASONS, Choice, Group, Option, options_of
from dpo_core.curate.length_control import Limits, Weighed, longer_wins, take, unit_of, weigh
from dpo_core.data.digests import digest_json


@dataclass(frozen=True)
class LengthControl:
    """What it took that length separates the sides no more than it may.

    `units`: what lengths are counted in. `before`, `after`: share of pairs that the longer answer wins, ties half, in
    each, of the best pairs and of those taken; nan of none. `swapped`: groups of which another pair than the best was
    taken; `left_out`: groups without one; `decided`: groups of whose every pair the same side, the one that wins more
    often, is longer. `contrast_before`, `contrast_after`: mean contrast of the groups taken, in the reward's unit.
    """

    limit: float
    units: tuple[str, str]
    groups: int
    before: tuple[float, float]
    after: tuple[float, float]
    swapped: int
    left_out: int
    decided: int
    contrast_before: float
    contrast_after: float

    @property
    def says(self) -> str:
        """What was done, in words; empty where nothing had to be."""
        sentences = []
        if self.swapped:
            sentences.append(
                f"{self.swapped} of {self.groups} groups give another pair than their best, so that the longer answer "
                f"(in {self.units[0]}) wins {self.after[0]:.1%} of the pairs instead of {self.before[0]:.1%}: the mean "
                f"contrast is {self.contrast_after:.4g} instead of {self.contrast_before:.4g}"
            )
        if self.left_out:
            sentences.append(
                f"length decides {self.decided} of {self.groups} groups: no pairs can be made that length does not "
                f"give away, and {self.left_out} groups are left out. Look at the reward: it may pay for length alone"
            )
        return ". ".join(sentences)


@dataclass(frozen=True)
class Selection:
    """Of each group, in the order given: its pair, or None and the reason (one of REASONS)."""

    picks: tuple[Option | None, ...]
    reasons: tuple[str, ...]
    length: LengthControl

    @property
    def dropped(self) -> dict[str, int]:
        """Groups without a pair, by reason."""
        counts = Counter(filter(None, self.reasons))
        return {reason: counts[reason] for reason in REASONS if counts[reason]}


def select(groups: Sequence[Group], rules: Choice, *, length_warn: float = 0.6) -> Selection:
    """One pair of each group, by the rules. `length_warn`: the data check's limit, where the rules name none.

    The order of groups, and of the answers in them, changes nothing: groups of one key count by their answers.
    """
    found = [options_of(group, rules) for group in groups]
    unit = unit_of(groups)
    order = sorted(
        (row for row, (options, _) in enumerate(found) if options),
        key=lambda row: (digest_json(groups[row].key), sorted(map(repr, groups[row].candidates))),
    )
    weighed = [[weigh(option, unit) for option in found[row][0]] for row in order]
    share = length_warn if rules.longer_wins is None else rules.longer_wins
    limits = Limits(share, math.inf if rules.log_length is None else rules.log_length)
    taken = take(weighed, limits)
    picks: list[Option | None] = [None] * len(groups)
    reasons = [reason for _, reason in found]
    for row, place in zip(order, taken, strict=True):
        if place is None:
            reasons[row] = LENGTH
        else:
            picks[row] = found[row][0][place]
    return Selection(tuple(picks), tuple(reasons), _cost(weighed, taken, share, unit))


def _cost(options: Sequence[Sequence[Weighed]], taken: Sequence[int | None], limit: float, unit: str) -> LengthControl:
    best = [group[0] for group in options]
    kept = [(group[place], group[0]) for group, place in zip(options, taken, strict=True) if place is not None]
    before = longer_wins(best)
    side = 1 if best and before[0] >= 0.5 else -1
    return LengthControl(
        limit,
        (unit, "characters"),
        len(options),
        before,
        longer_wins([option for option, _ in kept]),
        sum(bool(place) for place in taken),
        sum(place is None for place in taken),
        sum(all(option.longer[0] == side for option in group) for group in options),
        _mean([first.contrast for _, first in kept]),
        _mean([option.contrast for option, _ in kept]),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan

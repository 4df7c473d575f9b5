"""What a judge's verdicts follow beside what people say: the place, the length, who wrote the answer."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dpo_core.evaluate.intervals import Interval, mean_interval
from dpo_core.evaluate.judges.labels import Labelled
from dpo_core.evaluate.judges.logistic import fit
from dpo_core.evaluate.paired import difference
from dpo_core.rewards.judge import Verdict
from dpo_core.rewards.questions_to_judges import Choice

_SIGN: dict[Choice, float] = {"first": 1.0, "tie": 0.0, "second": -1.0}


class Leaning(NamedTuple):
    """Towards answers with some feature, of the pairs in which one answer has it.

    `share`: of the verdicts, how many prefer the answer with it, a tie being one half. `pull`: how often the judge errs
    towards it where people prefer the other, less how often it errs away from it where people prefer the one with it:
    0 for one who errs at random, and q for one who follows the feature with chance q and people else. None where people
    never prefer one of the two.
    """

    pairs: int
    share: Interval
    pull: Interval | None


def place(verdicts: Sequence[Verdict], clusters: Sequence[str]) -> tuple[Interval, Interval]:
    """The leaning to the first place, from -1 to 1; and the share of pairs whose verdict follows the place, 0 to 1.

    The first is the share of pairs whose first place was preferred in both orders less that of the second place: of one
    who names the first place with chance q, and else knows the better answer, q. Of one who errs at random both orders
    follow either place alike often, and it is 0.
    """
    places = np.array([verdict.place for verdict in verdicts])
    follows = mean_interval([float(place != 0) for place in places], clusters)
    if len(set(clusters)) < 2:
        return Interval(float(places.mean()), -1.0, 1.0), follows
    net = difference((places > 0).astype(float), (places < 0).astype(float), clusters, shares=True)
    return Interval(net.mean, net.low(0.025, 0.0), -net.mirrored().low(0.025, 0.0)), follows


def lean(labelled: Sequence[Labelled], verdicts: Sequence[Verdict], sides: Sequence[int]) -> Leaning | None:
    """`sides`: of each pair, 1 where the first answer has the feature, -1 the second, 0 both or neither."""
    rows = [
        (pair.cluster, verdict.value if side > 0 else 1 - verdict.value, side * _SIGN[pair.label])
        for pair, verdict, side in zip(labelled, verdicts, sides, strict=True)
        if side
    ]
    if not rows:
        return None
    share = mean_interval([value for _, value, _ in rows], [cluster for cluster, _, _ in rows])
    parts = []
    for wanted in (-1.0, 1.0):  # people prefer the one without it, and the one with it
        those = [(cluster, value) for cluster, value, people in rows if people == wanted]
        if not those:
            return Leaning(len(rows), share, None)
        parts.append(mean_interval([value for _, value in those], [cluster for cluster, _ in those]))
    return Leaning(len(rows), share, _sum_less_one(*parts))


def longer(labelled: Sequence[Labelled]) -> list[int]:
    """Which answer has more characters, for `lean`."""
    return [int(np.sign(len(pair.first) - len(pair.second))) for pair in labelled]


def own(labelled: Sequence[Labelled], judge: str) -> list[int]:
    """Which answer the judge itself wrote, for `lean`."""
    return [(pair.generators[0] == judge) - (pair.generators[1] == judge) for pair in labelled]


def length_slope(labelled: Sequence[Labelled], verdicts: Sequence[Verdict]) -> Interval | None:
    """Log-odds of a verdict for each doubling of the length, given what people say; None where lengths never differ."""
    ratio = np.array([math.log2((len(pair.first) + 1) / (len(pair.second) + 1)) for pair in labelled])
    people = np.array([_SIGN[pair.label] for pair in labelled])
    clusters = [pair.cluster for pair in labelled]
    columns = np.stack([ratio, people], axis=1) if people.any() else ratio[:, None]
    if np.linalg.matrix_rank(columns) < columns.shape[1] or len(set(clusters)) < 2:
        return None
    return fit(columns, np.array([verdict.value for verdict in verdicts]), clusters).interval(0)


def _sum_less_one(one: Interval, other: Interval) -> Interval:
    """Of two independent shares, by their own limits (MOVER: Zou and Donner, Stat. Med. 2008, 27, 1693-1702)."""
    value = one.value + other.value - 1
    low = value - math.hypot(one.value - one.low, other.value - other.low)
    high = value + math.hypot(one.high - one.value, other.high - other.value)
    return Interval(value, max(low, -1.0), min(high, 1.0))

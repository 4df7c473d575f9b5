"""One condition of the gate: a metric, what is asked of it, and what its items say to that."""

import math
from typing import Literal, NamedTuple

from pydantic import Field

from dpo_core.evaluate import power
from dpo_core.evaluate.clusters import degrees_of_freedom, group
from dpo_core.evaluate.floors import Level, level
from dpo_core.evaluate.paired import Difference, difference
from dpo_core.evaluate.scores import Compared, mean
from dpo_core.evaluate.wording import Numbers, Outcome, sentence
from dpo_core.records import Record

GateVerdict = Literal["promote", "hold_underpowered", "hold_no_gain", "reject_regression"]
Rule = Literal["improve", "keep", "floor", "uptake"]
Against = Literal["baseline", "anchor"]
VERDICTS: dict[Outcome, GateVerdict] = {
    "few": "hold_underpowered",
    "out_of_reach": "hold_underpowered",
    "improved": "promote",
    "no_gain": "hold_no_gain",
    "worse": "reject_regression",
    "kept": "promote",
    "loss_open": "hold_underpowered",
    "loss_open_by_chance": "hold_underpowered",
    "lost": "reject_regression",
    "reached": "promote",
    "level_open": "hold_underpowered",
    "missed": "hold_no_gain",
    "not_learnt": "promote",
    "learnt_open": "hold_underpowered",
    "learnt": "reject_regression",
}


class Condition(Record):
    """One line of the gate's evidence; null where nothing could be computed."""

    metric: str = Field(description="its name")
    rule: Rule = Field(description="what is asked of it")
    verdict: GateVerdict = Field(description="promote: this condition holds")
    difference: float | None = Field(None, description="challenger - baseline (or anchor), mean over items")
    low: float | None = Field(None, description="one-sided lower bound of the difference, at alpha")
    high: float | None = Field(None, description="one-sided upper bound of the difference, at alpha")
    items: int = Field(0, description="compared")
    clusters: int = Field(0, description="prompt groups of these items")
    left_out: int = Field(0, description="items not compared, for a model was trained on them")
    won: int = Field(0, description="items on which the challenger is better")
    lost: int = Field(0, description="items on which it is worse")
    p: float | None = Field(None, description="of the test that is to be passed: passed where it is not above alpha")
    alpha: float = Field(description="one-sided error of this condition's test")
    detectable: float | None = Field(None, description="smallest true distance from the limit found with 80 % power")
    items_needed: int | None = Field(
        None,
        description="for 80 % power, of keep if both are equally good, else if what was seen is true; null: none do",
    )
    says: str = Field(description="in words")
    against: Against = Field("baseline", description="what the challenger is compared with")
    asked: float = Field(
        description="the gain to be exceeded, the largest loss, the floor, or the most of a preference"
    )
    challenger: float | None = Field(None, description="its mean")
    baseline: float | None = Field(None, description="the mean of what it is compared with")
    challenger_low: float | None = Field(
        None, description="of a floor or uptake: one-sided lower bound of the challenger's mean"
    )
    challenger_high: float | None = Field(None, description="the upper one")


class Asked(NamedTuple):
    """A condition before it is judged; `fewest`: prompt groups."""

    metric: str
    rule: Rule
    amount: float
    alpha: float
    fewest: int
    against: Against = "baseline"


class _Judged(NamedTuple):
    """What came of it: p of the test, bounds that decided, the numbers of power."""

    outcome: Outcome
    p: float
    low: float
    high: float
    detectable: float
    needed: int | None


def unmeasured(ask: Asked, why: str, verdict: GateVerdict) -> Condition:
    """A condition whose items cannot be compared."""
    says = f"{ask.metric} {why}{' (the anchor)' if ask.against == 'anchor' else ''}"
    return Condition(
        metric=ask.metric, rule=ask.rule, verdict=verdict, alpha=ask.alpha, says=says, against=ask.against,
        asked=ask.amount,
    )  # fmt: skip


def judge(ask: Asked, compared: Compared) -> Condition:
    """Whether the condition holds on these items."""
    if compared.groups < 2:
        nothing = _Judged("few", math.nan, math.nan, math.nan, math.nan, _enough(ask, compared, None))
        return _condition(ask, compared, nothing, (math.nan, math.nan))
    test = difference(compared.challenger, compared.baseline, compared.clusters, shares=compared.shares)
    limit = {"improve": ask.amount, "keep": -ask.amount, "floor": 0.0, "uptake": 0.0}[ask.rule]
    bounds = test.low(ask.alpha, limit), -test.mirrored().low(ask.alpha, -min(limit, 0.0))
    own_level = ask.rule in ("floor", "uptake")
    found = _level(ask, compared) if own_level else _change(ask, compared, test, limit, bounds)
    return _condition(ask, compared, found, bounds)


def _change(ask: Asked, compared: Compared, test: Difference, limit: float, bounds: tuple[float, float]) -> _Judged:
    """A metric that must exceed its limit; it is shown to be worse where it stays below that, and below no change."""
    p, worse = test.p(limit), test.mirrored().p(-min(limit, 0.0)) <= ask.alpha
    gap = test.mean - limit if ask.rule == "improve" else ask.amount
    needed = _items_needed(ask, compared, test.error, gap)
    if ask.rule == "keep" and compared.shares and needed is not None:
        unchanged = power.unchanged_items_needed(ask.amount, ask.alpha) * compared.items / compared.groups
        needed = max(needed, math.ceil(unchanged))
    outcome: Outcome
    if few := _few(ask, compared):
        outcome, needed = few, _enough(ask, compared, needed)
    elif ask.rule == "improve":
        outcome = "improved" if p <= ask.alpha else "worse" if worse else "no_gain"
    elif p <= ask.alpha or worse:
        outcome = "kept" if p <= ask.alpha else "lost"
    else:
        outcome = "loss_open" if needed is None or needed > compared.items else "loss_open_by_chance"
    return _Judged(outcome, p, *bounds, power.detectable(test.error, ask.alpha), needed)


def _level(ask: Asked, compared: Compared) -> _Judged:
    """A metric of the challenger alone, which must be shown to reach what is asked for."""
    least = 1 - ask.amount if ask.rule == "uptake" else ask.amount
    at: Level = level(compared.challenger, group(compared.challenger, compared.clusters), shares=compared.shares)
    (low, high), p = at.bounds(ask.alpha), at.p(least)
    error = at.error(least)
    needed = _items_needed(ask, compared, error, at.mean - least)
    outcome: Outcome
    if few := _few(ask, compared):
        outcome, needed = few, _enough(ask, compared, needed)
    elif ask.rule == "uptake":
        outcome = "not_learnt" if p <= ask.alpha else "learnt" if high < least else "learnt_open"
    else:
        outcome = "reached" if p <= ask.alpha else "missed" if high < least else "level_open"
    return _Judged(outcome, p, low, high, power.detectable(error, ask.alpha), needed)


def _items_needed(ask: Asked, compared: Compared, error: float, gap: float) -> int | None:
    """By the error; where that is 0, for every group moved alike, those of which p can be as low as alpha."""
    needed = power.items_needed(compared.items, error, gap, ask.alpha)
    if error or needed is None:
        return needed
    worth = degrees_of_freedom(group(compared.challenger, compared.clusters)) + 1  # groups, were all of one size
    return math.ceil(power.fewest_groups(ask.alpha) * compared.items / worth)


def _few(ask: Asked, compared: Compared) -> Outcome | None:
    if compared.groups < ask.fewest:
        return "few"
    gained = ask.rule == "improve" and compared.groups < power.fewest_groups(ask.alpha)
    return "out_of_reach" if gained else None


def _enough(ask: Asked, compared: Compared, needed: int | None) -> int:
    """Items of as many groups as are asked for."""
    groups = max(ask.fewest, power.fewest_groups(ask.alpha) if ask.rule == "improve" else 2)
    return max(needed or 0, math.ceil(groups * compared.items / compared.groups))


def _condition(ask: Asked, compared: Compared, found: _Judged, bounds: tuple[float, float]) -> Condition:
    before, after = mean(compared.baseline), mean(compared.challenger)
    change = mean(compared.challenger - compared.baseline)
    fewest = max(ask.fewest, 2) if found.outcome == "few" else power.fewest_groups(ask.alpha)
    facts = Numbers(
        ask.metric, ask.against, before, after, compared.items, compared.groups, compared.left_out,
        found.low, found.high, found.p, ask.alpha, ask.amount, found.needed, fewest,
    )  # fmt: skip
    own = (found.low, found.high) if ask.rule in ("floor", "uptake") else (math.nan, math.nan)
    return Condition(
        metric=ask.metric,
        rule=ask.rule,
        verdict=VERDICTS[found.outcome],
        difference=change,
        low=_number(bounds[0]),
        high=_number(bounds[1]),
        items=compared.items,
        clusters=compared.groups,
        left_out=compared.left_out,
        won=int((compared.challenger > compared.baseline).sum()),
        lost=int((compared.challenger < compared.baseline).sum()),
        p=_number(found.p),
        alpha=ask.alpha,
        detectable=_number(found.detectable),
        items_needed=found.needed,
        says=sentence(found.outcome, facts),
        against=ask.against,
        asked=ask.amount,
        challenger=after,
        baseline=before,
        challenger_low=_number(own[0]),
        challenger_high=_number(own[1]),
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

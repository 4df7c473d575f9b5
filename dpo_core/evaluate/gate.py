"""The promotion gate: paired statistics on the same items, one of four verdicts, every reason in words.

Non-inferiority and sign-flip tests on paired items, all of one prompt together; all conditions must hold, so each
runs at alpha uncorrected (intersection-union test, Berger 1982). Nothing is decided on fewer than `min_items` prompts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from dpo_core.evaluate.intervals import paired
from dpo_core.recipe import Gate

GateVerdict = Literal["promote", "hold_underpowered", "hold_no_gain", "reject_regression"]


@dataclass(frozen=True)
class Scores:
    """One metric's value on every item for one model; more is better. `clusters` names each item's prompt."""

    values: Sequence[float]
    clusters: Sequence[str]
    left_out: int = 0  # items that one of the models was trained on


@dataclass(frozen=True)
class Condition:
    """One line of the gate's evidence."""

    metric: str
    rule: Literal["improve", "keep", "floor"]
    verdict: GateVerdict  # "promote": this condition holds
    challenger: float
    baseline: float
    low: float
    high: float
    items: int
    says: str


@dataclass(frozen=True)
class Decision:
    """The gate's verdict: the worst of its conditions'."""

    verdict: GateVerdict
    conditions: list[Condition]

    @property
    def reasons(self) -> list[str]:
        """The conditions that decided, in words."""
        return [c.says for c in self.conditions if c.verdict == self.verdict]


ORDER: tuple[GateVerdict, ...] = ("promote", "hold_underpowered", "hold_no_gain", "reject_regression")


def decide(challenger: Mapping[str, Scores], baseline: Mapping[str, Scores], gate: Gate) -> Decision:
    """Compare a challenger with the champion (or the reference model where there is none yet).

    A metric that is missing, empty, not finite or measured on other items is a regression, never a pass.
    """
    conditions = [_improve(m, challenger.get(m), baseline.get(m), gate) for m in gate.improve]
    conditions += [_keep(m, challenger.get(m), baseline.get(m), margin, gate) for m, margin in gate.keep.items()]
    conditions += [_floor(m, challenger.get(m), baseline.get(m), least, gate) for m, least in gate.floor.items()]
    verdict: GateVerdict = max((c.verdict for c in conditions), key=ORDER.index, default="hold_no_gain")
    return Decision(verdict, conditions)


def _improve(metric: str, new: Scores | None, old: Scores | None, gate: Gate) -> Condition:
    if (broken := _broken(metric, "improve", new, old)) is not None:
        return broken
    assert new is not None
    assert old is not None
    test = paired(new.values, old.values, new.clusters, alpha=gate.alpha)
    facts = f"{_change(metric, new, old)} on {_items(new)} (p = {test.p_better:.2g})"
    verdict: GateVerdict
    if few := _too_few(new, max(gate.min_items, _fewest(gate.alpha)), gate):
        verdict, says = "hold_underpowered", f"{facts}: {few}"
    elif test.p_better <= gate.alpha:
        verdict, says = "promote", f"{facts}, better beyond chance"
    elif test.p_worse <= gate.alpha:
        verdict, says = "reject_regression", f"{facts}, worse beyond chance (p = {test.p_worse:.2g})"
    else:
        verdict, says = "hold_no_gain", f"{facts}, no gain beyond chance (alpha {gate.alpha:g})"
    return Condition(metric, "improve", verdict, _mean(new), _mean(old), test.low, test.high, len(new.values), says)


def _keep(metric: str, new: Scores | None, old: Scores | None, margin: float, gate: Gate) -> Condition:
    if (broken := _broken(metric, "keep", new, old)) is not None:
        return broken
    assert new is not None
    assert old is not None
    test = paired(new.values, old.values, new.clusters, alpha=gate.alpha)
    facts = f"{_change(metric, new, old)}, may lose {margin:g}"
    bound = f"{1 - gate.alpha:.0%} bound of the change {test.low:+.4g}"
    verdict: GateVerdict
    if few := _too_few(new, gate.min_items, gate):
        verdict, says = "hold_underpowered", f"{facts}; {_items(new)}: {few}"
    elif test.difference < -margin:
        verdict, says = "reject_regression", f"{facts}, lost {-test.difference:.4g}"
    elif test.low >= -margin:
        verdict, says = "promote", f"{facts}; {bound}"
    else:
        need = _items_needed(new, old, margin, gate.alpha)
        verdict, says = "hold_underpowered", f"{facts}; {bound} on {_items(new)}: about {need} items would do"
    return Condition(metric, "keep", verdict, _mean(new), _mean(old), test.low, test.high, len(new.values), says)


def _floor(metric: str, new: Scores | None, old: Scores | None, least: float, gate: Gate) -> Condition:
    if (broken := _broken(metric, "floor", new, old)) is not None:
        return broken
    assert new is not None
    assert old is not None
    value = _mean(new)
    verdict: GateVerdict = "promote" if value >= least else "hold_no_gain"
    says = f"{metric}: {value:.4g}, at least {least:g} is asked for"
    if few := _too_few(new, gate.min_items, gate):
        verdict, says = "hold_underpowered", f"{says}; {_items(new)}: {few}"
    return Condition(metric, "floor", verdict, value, _mean(old), value, value, len(new.values), says)


def _too_few(scores: Scores, least: int, gate: Gate) -> str:
    """What to say where fewer prompts were asked than can decide; nothing where there are enough."""
    if len(set(scores.clusters)) >= least:
        return ""
    rule = "gate.min_items" if least == gate.min_items else f"alpha {gate.alpha:g}"
    return f"too few to tell, at least {least} with prompts of their own are needed ({rule})"


def _fewest(alpha: float) -> int:
    """Prompts of which a sign-flip test can show a gain at all, were each of them won: 0.5 to their power is alpha."""
    return math.ceil(-math.log2(alpha)) if alpha > 0 else 1


def _items(scores: Scores) -> str:
    items, prompts = len(scores.values), len(set(scores.clusters))
    named = f"{items} item{'s' * (items != 1)}"
    return named if items == prompts else f"{named} of {prompts} prompt{'s' * (prompts != 1)}"


def _change(metric: str, new: Scores, old: Scores) -> str:
    return f"{metric}: {_mean(old):.4g} -> {_mean(new):.4g}"


def _broken(
    metric: str, rule: Literal["improve", "keep", "floor"], new: Scores | None, old: Scores | None
) -> Condition | None:
    """Evidence that cannot be used, as a regression."""
    if new is None or old is None or not len(new.values):
        why = "was not measured"
    elif len(new.values) != len(old.values) or list(new.clusters) != list(old.clusters):
        why = "was measured on other items than the baseline's"
    elif not all(map(math.isfinite, [*new.values, *old.values])):
        why = "is not finite"
    else:
        return None
    nan = float("nan")
    return Condition(metric, rule, "reject_regression", nan, nan, nan, nan, 0, f"{metric} {why}")


def _mean(scores: Scores) -> float:
    return math.fsum(scores.values) / len(scores.values)


def _items_needed(new: Scores, old: Scores, margin: float, alpha: float) -> int:
    """Items for 80 % power of the non-inferiority test, were the true difference zero."""
    differences = [a - b for a, b in zip(new.values, old.values, strict=True)]
    mean = math.fsum(differences) / len(differences)
    variance = math.fsum((d - mean) ** 2 for d in differences) / len(differences)
    z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(0.8))
    return math.ceil(variance * (z / margin) ** 2) if margin > 0 else len(differences) * 10

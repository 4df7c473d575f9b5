"""The promotion gate: paired statistics on the same items, one of four verdicts, every reason in words.

Non-inferiority and McNemar's test on paired items; all conditions must hold, so each runs at alpha uncorrected
(intersection-union test, Berger 1982).
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
    conditions = [_improve(m, challenger.get(m), baseline.get(m), gate.alpha) for m in gate.improve]
    conditions += [_keep(m, challenger.get(m), baseline.get(m), margin, gate.alpha) for m, margin in gate.keep.items()]
    conditions += [_floor(m, challenger.get(m), baseline.get(m), least) for m, least in gate.floor.items()]
    verdict: GateVerdict = max((c.verdict for c in conditions), key=ORDER.index, default="hold_no_gain")
    return Decision(verdict, conditions)


def _improve(metric: str, new: Scores | None, old: Scores | None, alpha: float) -> Condition:
    if (broken := _broken(metric, "improve", new, old)) is not None:
        return broken
    assert new is not None
    assert old is not None
    test = paired(new.values, old.values, new.clusters, alpha=alpha)
    a, b = _mean(new), _mean(old)
    facts = f"{metric}: {b:.4g} -> {a:.4g} on {len(new.values)} items (p = {test.p_better:.2g})"
    verdict: GateVerdict = "promote" if test.p_better <= alpha and test.difference > 0 else "hold_no_gain"
    if test.high < 0:
        verdict = "reject_regression"
    says = (
        facts
        + {
            "promote": ", better beyond chance",
            "hold_no_gain": f", no gain beyond chance (alpha {alpha})",
            "reject_regression": ", worse",
        }[verdict]
    )
    return Condition(metric, "improve", verdict, a, b, test.low, test.high, len(new.values), says)


def _keep(metric: str, new: Scores | None, old: Scores | None, margin: float, alpha: float) -> Condition:
    if (broken := _broken(metric, "keep", new, old)) is not None:
        return broken
    assert new is not None
    assert old is not None
    test = paired(new.values, old.values, new.clusters, alpha=alpha)
    facts = f"{metric}: {_mean(old):.4g} -> {_mean(new):.4g}, may lose {margin:g}"
    if test.difference < -margin:
        verdict, says = "reject_regression", f"{facts}, lost {-test.difference:.4g}"
    elif test.low >= -margin:
        verdict, says = "promote", f"{facts}; at worst {test.low:+.4g}"
    else:
        need = _items_needed(new, old, margin, alpha)
        says = f"{facts}; {len(new.values)} items cannot rule out {test.low:+.4g}: about {need} items would"
        verdict = "hold_underpowered"
    return Condition(metric, "keep", verdict, _mean(new), _mean(old), test.low, test.high, len(new.values), says)  # type: ignore[arg-type]


def _floor(metric: str, new: Scores | None, old: Scores | None, least: float) -> Condition:
    if (broken := _broken(metric, "floor", new, old)) is not None:
        return broken
    assert new is not None
    assert old is not None
    value = _mean(new)
    verdict: GateVerdict = "promote" if value >= least else "hold_no_gain"
    says = f"{metric}: {value:.4g}, at least {least:g} is asked for"
    return Condition(metric, "floor", verdict, value, _mean(old), value, value, len(new.values), says)


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

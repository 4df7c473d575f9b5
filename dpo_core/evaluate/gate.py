"""The promotion gate: paired tests on the same items, one of four verdicts, every reason in words.

All conditions must hold, so each is tested at alpha uncorrected (intersection-union test, Berger 1982). A kept metric
passes where a loss beyond its margin is ruled out, an improved one where no gain is; only what is itself shown to be
worse is a regression. Between the two, too little was measured. docs/promotion.md has the error rates.
"""

from collections.abc import Mapping
from typing import NamedTuple

from dpo_core.evaluate import power
from dpo_core.evaluate.conditions import Against, Asked, Condition, GateVerdict, judge, unmeasured
from dpo_core.evaluate.looks import alpha_of_a_look
from dpo_core.evaluate.scores import UPTAKE, Scores, compare
from dpo_core.recipe_release import Gate

__all__ = ["Condition", "Decision", "GateVerdict", "Scores", "decide"]
Models = Mapping[str, Scores]
ORDER: tuple[GateVerdict, ...] = ("promote", "hold_underpowered", "hold_no_gain", "reject_regression")


class Decision(NamedTuple):
    """The gate's verdict, the worst of its conditions', and what else a person should know of the rules."""

    verdict: GateVerdict
    conditions: list[Condition]
    notes: list[str]

    @property
    def reasons(self) -> list[str]:
        """The conditions that decided, in words."""
        return [c.says for c in self.conditions if c.verdict == self.verdict]


def decide(
    challenger: Models, baseline: Models, rules: Gate, *, anchor: Models | None = None, looks: int = 1
) -> Decision:
    """Compare a challenger with the champion (or the reference model where there is none yet).

    With an `anchor`, kept metrics are held to their margin against it too: small losses do not add up. `looks`: at how
    many candidates a year these items are looked at. One look alone is made at `rules.alpha`; of several, a gain is
    tested at Dunnett's alpha, by which all of them together promote an equal candidate in `rules.alpha_year` at most.
    """
    spent = alpha_of_gains(rules, looks)
    against: dict[Against, Models] = (
        {"baseline": baseline} if anchor is None else {"baseline": baseline, "anchor": anchor}
    )
    few = rules.min_items
    asked = [Asked(metric, "improve", gain, spent, few) for metric, gain in rules.gains.items()]
    for model in against:
        asked += [Asked(metric, "keep", margin, rules.alpha, few, model) for metric, margin in rules.keep.items()]
    asked += [Asked(metric, "floor", least, rules.alpha, few) for metric, least in rules.floor.items()]
    if rules.uptake is not None:
        shortcuts = [metric for metric in challenger if metric.startswith(UPTAKE)]
        asked += [Asked(metric, "uptake", rules.uptake, rules.alpha, few) for metric in shortcuts]
    conditions = [_condition(ask, challenger, against[ask.against]) for ask in asked]
    return Decision(max((c.verdict for c in conditions), key=ORDER.index), conditions, _notes(rules))


def beyond_noise(decision: Decision, flips: float) -> Decision:
    """The decision where a share `flips` of the answers goes from right to wrong, or back, when asked again.

    What is kept by less than that of a suite of questions is held: measured again, it could as well have been lost.
    """
    conditions = [_beyond_noise(condition, flips) for condition in decision.conditions]
    return Decision(max((c.verdict for c in conditions), key=ORDER.index), conditions, decision.notes)


def _beyond_noise(c: Condition, flips: float) -> Condition:
    answered = c.metric.startswith(("behaviour/", "retention/")) and c.metric != "retention/neutral_text"
    if not (flips and answered and c.rule == "keep" and c.verdict == "promote" and c.low is not None):
        return c
    if c.low - flips >= -c.asked:
        return c
    says = (
        f"{c.says}; but {flips:.2g} of the answers went from right to wrong or back when asked again, and were so many "
        "more lost, it would not be (evaluation.again asks more of them)"
    )
    return c.model_copy(update={"verdict": "hold_underpowered", "says": says})


def alpha_of_gains(rules: Gate, looks: int) -> float:
    """The one-sided alpha at which a gain is tested where so many candidates a year are looked at."""
    return rules.alpha if looks <= 1 else min(rules.alpha, alpha_of_a_look(rules.alpha_year, looks))


def _condition(ask: Asked, challenger: Models, baseline: Models) -> Condition:
    """A metric that was not measured is never passed; one that is no number is the challenger's fault."""
    compared = compare(ask.metric, challenger.get(ask.metric), baseline.get(ask.metric))
    if isinstance(compared, str):
        return unmeasured(ask, compared, "hold_underpowered")
    if not compared.finite:
        return unmeasured(ask, "is not finite: the new model computes no number", "reject_regression")
    return judge(ask, compared)


def _notes(rules: Gate) -> list[str]:
    if (many := len(rules.gains)) < 2:
        return []
    return [
        f"{many} metrics must all improve: where each is better by its smallest detectable effect, all of them pass "
        f"with probability {power.joint_power(many):.2g}, were they independent. With one in gate.improve and the rest "
        "in gate.keep, a better model is found more often"
    ]

"""A condition of the gate as its page shows it: what was asked, in words, and the figures that decided."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from dpo_core.report.documents import EvaluationEvidence
from dpo_core.report.numbers import change, is_rate, percent, rate_or_number

ORDER = ("reject_regression", "hold_no_gain", "hold_underpowered", "promote")  # what did not hold comes first
COMPARED = {
    "reference": "the base model",
    "champion": "the champion",
    "version": "the version that it is compared with",
    "anchor": "the anchor",
}


class ShownCondition(NamedTuple):
    """One condition, ready for the template. `aside`: its sentence in full, where it is not simply held."""

    metric: str
    kind: Literal["pass", "warn", "fail"]
    word: Literal["holds", "open", "fails"]
    headline: str
    figures: tuple[tuple[str, str], ...]
    aside: str


def trivial_figures(metric: str, evidence: EvaluationEvidence) -> list[tuple[str, str]]:
    """What rules that understand nothing reach on the pairs of an accuracy: an accuracy says something above them."""
    part = re.fullmatch(r"rewards/accuracies(?:\[(.+)\])?", metric)
    if part is None:
        return []
    found = evidence.slices.get(part[1], {}) if part[1] else evidence.trivial
    return [(rule, percent(found[rule].value)) for rule in evidence.trivial if rule in found]


def shown_conditions(
    conditions: Sequence[Mapping[str, Any]], baseline: str, evidence: EvaluationEvidence | None = None
) -> list[ShownCondition]:
    """Of a gate's conditions, in the order in which they matter; `baseline`: what the new model was compared with."""
    ordered = sorted(conditions, key=lambda c: ORDER.index(c["verdict"]))
    shown = [_shown(c, COMPARED["anchor" if c["against"] == "anchor" else baseline]) for c in ordered]
    if evidence is None or "pairs" in evidence.sealed:  # then those rules are of other pairs than the gate's
        return shown
    return [c._replace(figures=(*c.figures, *trivial_figures(c.metric, evidence))) for c in shown]


def _shown(c: Mapping[str, Any], other: str) -> ShownCondition:
    holds = c["verdict"] == "promote"
    failed = c["verdict"] in ("reject_regression", "hold_no_gain")
    measured = c["difference"] is not None
    return ShownCondition(
        metric=c["metric"],
        kind="pass" if holds else "fail" if c["verdict"] == "reject_regression" else "warn",
        word="holds" if holds else "fails" if failed else "open",
        headline=_headline(c, other) if measured else "It could not be measured.",
        figures=_figures(c) if measured else (),
        aside="" if holds else c["says"],
    )


def _headline(c: Mapping[str, Any], other: str) -> str:
    asked, verdict = c["asked"], c["verdict"]
    rated = is_rate(c["metric"], (c["baseline"], c["challenger"]))
    level, by = (f"{100 * asked:.3g} {unit}" if rated else f"{asked:g}" for unit in ("%", "points"))
    match c["rule"]:
        case "improve":
            more = f" by more than {by}" if asked else ""
            return {
                "promote": f"Better than {other}{more}, beyond chance.",
                "reject_regression": f"Worse than {other}, beyond chance.",
                "hold_no_gain": f"It is not shown to be better than {other}{more}.",
            }.get(verdict, f"Too few to tell whether it is better than {other}{more}.")
        case "keep":
            return {
                "promote": f"Not worse than {other} by more than {by}.",
                "reject_regression": f"Worse than {other} by more than {by}.",
            }.get(verdict, f"It is not ruled out that it is worse than {other} by more than {by}.")
        case "floor":
            return {"promote": f"At least {level}, as asked.", "hold_no_gain": f"Below the {level} asked for."}.get(
                verdict, f"It is not shown that it reaches {level}."
            )
        case _:
            return {
                "promote": f"An answer is preferred for this alone with a chance of {level} at most.",
                "reject_regression": f"The shortcut was learnt: preferred for it alone with a chance above {level}.",
            }.get(verdict, f"It is not ruled out that an answer is preferred for this alone in more than {level}.")


def _bounds(low: float | None, high: float | None, metric: str, means: tuple[float, float]) -> str:
    """Behind a change; few items bound it on one side alone, or on none."""
    if low is None and high is None:
        return ""
    lower, upper = ("" if end is None else change(end, metric, means).removesuffix(" points") for end in (low, high))
    return f" ({lower} to {upper})" if lower and upper else f" (at least {lower})" if lower else f" (at most {upper})"


def _figures(c: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    metric, uptake = c["metric"], c["rule"] == "uptake"
    means = (c["baseline"], c["challenger"])
    before, now = (rate_or_number(1 - mean if uptake else mean, metric) for mean in means)
    figures = [("before", before), ("now", now)]
    if c["rule"] == "floor" and c["challenger_low"] is not None:
        figures.append(("at least", rate_or_number(c["challenger_low"], metric)))
    elif not uptake:
        figures.append(("change", change(c["difference"], metric, means) + _bounds(c["low"], c["high"], metric, means)))
    prompts = "" if c["items"] == c["clusters"] else f" of {c['clusters']:,} prompts"
    figures.append(("items", f"{c['items']:,}{prompts}"))
    if c["left_out"]:
        figures.append(("left out, as trained on", f"{c['left_out']:,}"))
    if not uptake:
        figures.append(("better, worse on", f"{c['won']:,}, {c['lost']:,}"))
    return tuple(figures)

"""What a run's numbers come to in words: the same on the terminal and on the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from dpo_core.report.documents import (
    AgainRecord,
    DivergenceRecord,
    Estimate,
    JumpRecord,
    PreferredRecord,
    StopRecord,
    UptakeRecord,
)

SEEN = 0.05  # nats: what is less is shown as 0.0


class GateWords(NamedTuple):
    """A verdict of the gate: the terminal's headline, the page's, and the sentence below it."""

    headline: str
    word: Literal["promoted", "held", "rejected"]
    sentence: str


OUTCOMES = {
    "promote": GateWords(
        "PROMOTED", "promoted", "Every condition of the gate holds, each at the error that it allows."
    ),
    "hold_underpowered": GateWords(
        "HELD: too little was measured to tell",
        "held",
        "Too little was measured to tell whether every condition of the gate holds.",
    ),
    "hold_no_gain": GateWords(
        "HELD: the gate asks for more",
        "held",
        "Something that the gate asks for, a gain or a level, is not there beyond chance.",
    ),
    "reject_regression": GateWords(
        "REJECTED: something got worse",
        "rejected",
        "Something is worse beyond chance, or a shortcut was learnt.",
    ),
}


def drift_sentence(chosen: float, rejected: float) -> str:
    """What moved on held-out pairs, by their mean log-ratios (nats against the reference)."""
    margin = chosen - rejected
    if math.isnan(margin):
        return "No held-out pair was compared: what moved is not known."
    if max(abs(chosen), abs(rejected)) < SEEN:
        return "Nothing moved: to these pairs the new model is the reference."
    if margin < SEEN:
        if chosen >= SEEN:
            return "The rejected answers gained as much as the chosen ones, or more: the preference was not learned."
        return "The margin did not grow: this run taught nothing useful."
    if chosen >= SEEN:
        if rejected >= SEEN:
            return "The chosen answers became likelier, and more so than the rejected ones."
        return "The chosen answers became likelier: the model learned them, it did not only unlearn the others."
    if chosen > -SEEN:
        return "The margin grew because the rejected answers fell; the chosen ones are as likely as before."
    return (
        "The chosen answers became LESS likely; the margin grew because the rejected ones fell further. Read the "
        "answers for broken language; training.sft_weight holds the chosen ones up."
    )


def uptake_sentences(found: Sequence[UptakeRecord]) -> list[str]:
    """What the new model made of each shortcut that it learned and nobody meant; the strongest first."""
    learnt = [u for u in found if u.learnt and u.treated != "intended"]
    return [_learnt(u) for u in sorted(learnt, key=lambda u: -u.preference["challenger"].value)]


def _learnt(u: UptakeRecord) -> str:
    now = u.preference["challenger"]
    preferred = "preferred" if u.towards == "chosen" else "avoided"
    said = (
        f"It learned a shortcut of the data: {u.name}. An answer is {preferred} for it alone with a chance of "
        f"{now.value:.2f} ({now.low:.2f} to {now.high:.2f}; 0.5: no preference)"
    )
    if not u.shown:
        return f"{said}."
    before, after = (u.shown[who].value for who in ("baseline", "challenger"))
    return f"{said}; {before:.0%} of the generated answers showed it, now {after:.0%}."


def unlooked_sentence(found: Mapping[str, str], most: int | None = None) -> str:
    """Which shortcuts of the data were not looked for in the model, and why; at most so many by name."""
    if not found:
        return ""
    named = [f"{name} ({why})" for name, why in found.items()]
    more = f"; and {len(named) - most} more" if most is not None and len(named) > most else ""
    count = "a feature of the data was" if len(named) == 1 else f"{len(named)} features of the data were"
    return f"Whether {count} learnt is not known: {'; '.join(named[:most])}{more}."


def jump_sentence(found: Sequence[JumpRecord]) -> list[str]:
    """One line on where the training jumped, if it did; the page has all of it."""
    if not found:
        return []
    steps = ", ".join(f"{jump.step} ({', '.join(jump.metrics)})" for jump in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return [f"The training jumped at step {steps}{more}: the report names the rows of these steps."]


def stop_sentence(found: StopRecord) -> str:
    """Which step's weights a training with early stopping kept, and why."""
    kind = "lowest" if found.metric == "tuning_loss" else "highest"
    said = (
        f"The weights are those of step {found.best.step} of {found.planned}: {found.metric} was {kind} then, "
        f"{found.best.value:.4f} on {found.pairs} pairs set aside"
    )
    if found.best == found.last:
        return f"{said}."
    where = f"{found.last.step}, where the training stopped," if found.stopped else f"{found.last.step}, the last,"
    return f"{said}; after step {where} {found.last.value:.4f}."


def preferred_sentences(found: PreferredRecord | None) -> list[str]:
    """What rewards and judges say of the answers to held-out prompts."""
    if found is None:
        return []
    by = f"By {' and '.join(found.by)}"
    missing = f"; {found.unscored} more have no score ({found.why})" if found.unscored else ""
    if found.win_rate is None:
        return [f"{by} no answer to a held-out prompt could be compared{missing}."]
    rate = found.win_rate
    said = [
        f"{by} the new answer is better to {rate.value:.1%} of {found.prompts} held-out prompts ({rate.low:.1%} to "
        f"{rate.high:.1%}; 50 %: no difference), the {found.tied:.0%} that tie counted one half{missing}."
    ]
    if found.at_equal_length is not None:
        equal = found.at_equal_length
        said.append(f"Were both answers equally long, {equal.value:.1%} ({equal.low:.1%} to {equal.high:.1%}).")
    if found.reward:
        before, now = (found.reward[who] for who in ("baseline", "challenger"))
        said.append(f"Mean reward of an answer: {before.value:.3g} before, {now.value:.3g} now.")
    for judge, report in found.judges.items():
        (kappa, low, high), pairs = report["kappa"], report["pairs"]
        said.append(f"{judge} agrees with people by kappa {kappa:.2f} ({low:.2f} to {high:.2f}) on {pairs} pairs.")
    return said


def trivial_sentence(found: Mapping[str, Estimate]) -> str:
    """What rules that understand nothing reach on the held-out pairs."""
    if not found:
        return ""
    rules = ", ".join(f"{rule} {e.value:.1%} ({e.low:.1%} to {e.high:.1%})" for rule, e in found.items())
    return (
        f"Rules that understand nothing, on the same held-out pairs: {rules}. An accuracy says something as far as it "
        "lies above them."
    )


def noise_sentence(found: Mapping[str, AgainRecord]) -> str:
    """How many answers of the new model change where nothing but the batch did."""
    if "challenger" not in found:
        return ""
    again = found["challenger"]
    changed = round(again.changed.value * again.asked)
    return (
        f"Asked again in another order and batch, {changed} of {again.asked} answers changed, {again.flipped} of them "
        f"from right to wrong or back (at most {again.changed.high:.0%} of all answers do, 95 % interval)."
    )


def divergence_sentence(found: DivergenceRecord | None) -> str:
    """How far the new model went."""
    if found is None:
        return ""
    k3, k1 = found.k3, found.k1
    return (
        f"On {found.prompts} answers that it drew itself the new model is {k3.value:.3g} nats an answer away from the "
        f"reference ({k3.low:.3g} to {k3.high:.3g}; KL divergence by Schulman's k3, by his k1 {k1.value:.3g}, "
        f"{k1.low:.3g} to {k1.high:.3g})."
    )


def measured_against(baseline: str, *, is_champion: bool) -> str:
    """What the gate compared with. `is_champion`: the new version is the champion now."""
    if baseline == "reference":
        return "It was measured against the reference: the base model, from which all rewards are measured."
    if baseline == "version":
        return "It was measured against the version that retrain.against names."
    return f"It was measured against the champion{' before it' if is_champion else ''}."


def looks_are_spent(number: int, planned: int, fresh: int) -> str:
    """Why a candidate whose conditions hold is held: of so many on the same items, one looks better by luck."""
    return (
        f"This is candidate {number} on these held-out items within a year; retrain.looks plans for {planned}, and a "
        f"gain is tested for so many. {fresh} more held-out items, on which no candidate was gated, reopen the gate."
    )


def shown_scores(sealed: Sequence[str]) -> str:
    """What the scores in "before and after" are of; of the suites in `sealed` (or "pairs") the gate saw two thirds."""
    if sealed:
        return f"Scores of {', '.join(sealed)} are of a sealed third: the gate did not see it."
    return "These items also decide the gate: the best of several candidates looks a little better here than it is."

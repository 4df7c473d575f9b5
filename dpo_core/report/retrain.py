"""The page of one retraining run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from dpo_core.report.answers import filters, shown_suites
from dpo_core.report.conditions import shown_conditions, trivial_figures
from dpo_core.report.documents import EvaluationEvidence, StopRecord
from dpo_core.report.model_card import CardFacts, base_name, trained_with
from dpo_core.report.numbers import is_rate
from dpo_core.report.page import render
from dpo_core.report.sentences import (
    OUTCOMES,
    divergence_sentence,
    drift_sentence,
    measured_against,
    noise_sentence,
    preferred_sentences,
    stop_sentence,
    unlooked_sentence,
    uptake_sentences,
)

Series = list[tuple[str, list[float], str]]  # name, values, CSS class
OF_ANSWERS = (  # charts of a run that learned from its own answers: what is drawn, and its lines
    ("Mean reward of the answers before each drawing's steps", (("reward", "reward"),)),
    ("Their mean length, in tokens", (("length", "tokens"),)),
    (
        "Shares: word pairs that differ within a prompt's answers, and prompts whose answers make a pair",
        (("different word pairs", "distinct"), ("informative prompts", "informative")),
    ),
    (
        "Nats a token: the entropy of the answers, and how far they are from the reference (KL), both estimates",
        (("entropy", "entropy"), ("KL", "kl")),
    ),
)


def retrain_page(
    document: Mapping[str, Any],
    display: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    evidence: EvaluationEvidence,
    facts: CardFacts,
    online: Sequence[Mapping[str, float]] = (),
) -> str:
    """One HTML page: the gate's verdict and why, before and after, answers, training curves, lineage."""
    outcome, gate, drift = OUTCOMES[document["verdict"]], display["gate"], display["drift"]
    word, sentence = outcome.word, outcome.sentence
    if document.get("not_promoted"):
        word, sentence = "held", f"The gate says promote, but {document['not_promoted']}."
    is_champion = document["champion_version"] == document["version"]
    conditions = gate["conditions"]
    told = {condition["says"] for condition in conditions}
    suites = shown_suites(evidence, gate["baseline"])
    learnt = uptake_sentences(evidence.uptake)
    with_reference = not history or any("logratios/chosen" in row for row in history)
    moves = "logratios" if with_reference else "rewards"  # a loss without reference has no log-ratio
    return render(
        "retrain.html.j2",
        document=document,
        display=display,
        evidence=evidence,
        facts=facts,
        recipe=trained_with(facts),
        word=word,
        sentence=sentence,
        against=measured_against(gate["baseline"], is_champion=is_champion),
        learnt=[*learnt, *filter(None, [document.get("unstable")])],
        unlooked=unlooked_sentence(evidence.not_looked_for),
        preferred=preferred_sentences(evidence.preferred),
        noise=noise_sentence(evidence.again),
        reasons=[reason for reason in gate["reasons"] if reason not in told],
        conditions=shown_conditions(conditions, gate["baseline"], evidence),
        sections=list(_sections(evidence, conditions, document)),
        base=base_name(facts.base_model),
        spent=spent(sum(stage["seconds"] for stage in document["stages"])),
        metrics=[(row, _whisker(row), trivial_figures(row["metric"], evidence)) for row in display["before_after"]],
        suites=suites,
        choices=filters(suites),
        moved=drift_sentence(drift["chosen_logratio"], drift["rejected_logratio"]),
        divergence=divergence_sentence(evidence.divergence),
        drift_known=math.isfinite(drift["chosen_logratio"]) and math.isfinite(drift["rejected_logratio"]),
        steps=[row["step"] for row in history],
        of_loss=document["training"].get("loss", "sigmoid"),  # a run older than the losses names none
        loss=_losses(history),
        seeds=document.get("seeds", []),
        spread=document.get("spread", {}),
        jumps=document["training"].get("jumps", []),  # a run older than the flight recorder has none
        aside=_measured_aside(document["training"].get("early_stopping"), history),
        drift=[(f"{side} answers", _values(history, f"{moves}/{side}"), side) for side in ("chosen", "rejected")],
        with_reference=with_reference,
        online=online_curves(online),
        online_steps=[row["step"] for row in online],
        data_page=_beside(display["report"]),
    )


def _measured_aside(
    record: Mapping[str, Any] | None, history: Sequence[Mapping[str, float]]
) -> tuple[Series, list[float], str] | None:
    """The curve of the pairs set aside, its steps, and which of them was kept in words."""
    if record is None:
        return None
    stopped = StopRecord.model_validate(record)
    measured = [row for row in history if stopped.metric in row]
    values = [row[stopped.metric] for row in measured]
    return [(stopped.metric, values, "one")], [row["step"] for row in measured], stop_sentence(stopped)


def online_curves(drawings: Sequence[Mapping[str, float]]) -> list[tuple[str, Series]]:
    """Charts of the drawings' figures, each with its words; none where nothing was drawn."""
    kinds = ("one", "two")
    return [
        (words, [(n, _values(drawings, f"online/{key}"), k) for (n, key), k in zip(lines, kinds, strict=False)])
        for words, lines in (OF_ANSWERS if drawings else ())
    ]


def spent(seconds: float) -> str:
    """A run's time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _beside(report: str) -> str:
    """Where the data report lies, as seen from this page's folder: in DPO_HOME and in the store alike."""
    path = PurePath(report)
    return f"../{path.parent.name}/{path.name}" if path.suffix == ".html" and path.parent.name else ""


def _sections(
    evidence: EvaluationEvidence, conditions: Sequence[Mapping[str, Any]], document: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Id, title and size of each section that the page has."""
    yield "moved", "Before and after", _counted(len(evidence.means.get("challenger", {})), "metric")
    if evidence.uptake or evidence.not_looked_for:
        yield "uptake", "Shortcuts", f"{len(evidence.uptake)} looked for"
    asked = len(evidence.samples) + sum(map(len, evidence.checks.values()))
    yield "answers", "Answers", f"{asked:,} side by side"
    yield "training", "Training", _counted(document["training"]["steps"], "step")
    if evidence.slices:
        yield "parts", "Part by part", _counted(len(evidence.slices), "part")
    if conditions:
        yield "tests", "Tests", _counted(len(conditions), "condition")
    yield "origin", "Where it comes from", "digests and links"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _whisker(row: Mapping[str, Any]) -> tuple[list[tuple[float, float, float, str]], float, float]:
    """What `charts.whisker` draws of a metric; shares from 0 to 1, others as wide as they are."""
    known = [row["reference"], *([] if row["champion"] is None else [row["champion"]])]
    ends = [*known, row["low"], row["high"]]
    low, high = (0.0, 1.0) if is_rate(row["metric"], ends) else (min(ends), max(ends))
    marks = [(value, value, value, kind) for value, kind in zip(known, ("before", "champion"), strict=False)]
    return [*marks, (row["challenger"], row["low"], row["high"], "after")], low, high


def _values(history: Sequence[Mapping[str, float]], metric: str) -> list[float]:
    return [row.get(metric, math.nan) for row in history]


def _losses(history: Sequence[Mapping[str, float]]) -> Series:
    """The loss; beside it its terms, where it has more than one."""
    loss, dpo, sft = (_values(history, metric) for metric in ("loss", "losses/dpo", "losses/sft"))
    if all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) for a, b in zip(loss, dpo, strict=True)):
        return [("loss", loss, "one")]
    return [("loss", loss, "one"), ("its preference term", dpo, "two"), ("its SFT term", sft, "three")]

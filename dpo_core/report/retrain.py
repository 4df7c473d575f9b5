"""The page of one retraining run."""

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.report.documents import EvaluationEvidence
from dpo_core.report.page import render
from dpo_core.report.sentences import OUTCOMES, drift_sentence, measured_against, uptake_sentences


def retrain_page(
    document: Mapping[str, Any],
    display: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    evidence: EvaluationEvidence,
) -> str:
    """One HTML page: the gate's verdict and why, before and after, training curves, answers, lineage."""
    outcome = OUTCOMES[document["verdict"]]
    word, sentence = outcome.word, outcome.sentence
    if document.get("not_promoted"):
        word, sentence = "held", f"The gate says promote, but {document['not_promoted']}."
    is_champion = document["champion_version"] == document["version"]
    drift = display["drift"]
    steps = [row["step"] for row in history]
    kind = "logratios" if any("logratios/chosen" in row for row in history) or not history else "rewards"
    words = "log-ratio" if kind == "logratios" else "reward"  # a loss without reference has no log-ratio

    def series(*metrics: tuple[str, str, str]) -> list[tuple[str, list[float], str]]:
        return [(label, [row.get(metric, float("nan")) for row in history], kind) for label, metric, kind in metrics]

    return render(
        "retrain.html.j2",
        document=document,
        display=display,
        evidence=evidence,
        word=word,
        sentence=sentence,
        against=measured_against(display["gate"]["baseline"], is_champion=is_champion),
        learnt=uptake_sentences(evidence.uptake),
        moved=drift_sentence(drift["chosen_logratio"], drift["rejected_logratio"]),
        steps=steps,
        loss=series(
            ("loss", "loss", "one"), ("preference term", "losses/dpo", "two"), ("SFT term", "losses/sft", "three")
        ),
        drift=series(*((f"{side} {words}", f"{kind}/{side}", side) for side in ("chosen", "rejected"))),
        checks={name: sorted(rows, key=lambda row: row.passes) for name, rows in evidence.checks.items()},
    )

"""What the terminal shows at the end of a command: the claims a person reads, at 80 columns, without colours."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from flows.cli.screens import show_check, show_doctor, show_evaluation, show_retrain
from tasks.documents import CheckDocument, EvaluateDocument, Retrained

DOCUMENT = {
    "model": "athene",
    "version": 2,
    "champion_version": 2,
    "changed": True,
    "verdict": "promote",
    "mlflow_run_id": "0123456789abcdef",
    "report": "/tmp/reports/retrain.html",
    "weights_sha256": "w",
    "data_sha256": "d",
    "stages": [],
    "reference": {"rows": 0, "hits": 0, "forwards": 0},
    "training": {"steps": 0, "first_dpo_loss": 0.6931, "pairs_per_second": 0.0},
}
DISPLAY = {
    "before_after": [
        {"metric": name, "reference": before, "challenger": after, "low": low, "high": high, "champion": None}
        for name, before, after, low, high in (
            ("rewards/accuracies", 0.5, 0.934, 0.88, 0.97),
            ("retention/neutral_text", -3.2, -3.25, -3.3, -3.2),
        )
    ],
    "answers": [{"prompt": "What is your name?", "before": "I am [bold]Elena.", "after": "Athene.\x1b[2J"}],
    "drift": {"chosen_logratio": 22.1, "rejected_logratio": -10.3, "margin": 32.4},
    "gate": {"verdict": "promote", "reasons": ["rewards/accuracies rose"], "baseline": "champion"},
    "report": "/tmp/reports/quality.html",
    "run_url": "",
}


def screen(show, *given) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    show(console, *given)
    return console.file.getvalue()


def shown(document=DOCUMENT, display=DISPLAY) -> str:
    return screen(show_retrain, Retrained.model_validate({"document": document, "display": display}))


def test_a_run_shows_metrics_answers_drift_verdict_reports_and_what_to_type_next():
    text = shown()
    for part in (
        "rewards/accuracies      50.0 %  93.4 %",
        "88.0 % .. 97.0 %",
        "chosen answers +22.1   rejected answers -10.3   margin +32.4",
        "PROMOTED  athene version 2; champion: version 2",
        "rewards/accuracies rose",
        "/tmp/reports/retrain.html",
        "/tmp/reports/quality.html",
        "dpo chat models:/athene@champion",
    ):
        assert part in text
    assert max(map(len, text.partition("\nNext")[0].splitlines())) <= 80


def test_what_a_model_wrote_neither_marks_up_nor_moves_the_cursor():
    text = shown()
    assert "I am [bold]Elena." in text
    assert "\x1b" not in text


def test_nats_a_token_are_no_percentage():
    assert "-3.300 .. -3.200" in shown()


@pytest.mark.parametrize(
    ("chosen", "rejected", "says"),
    [
        (3.0, -5.0, "The chosen answers became likelier"),
        (-3.0, -50.0, "The chosen answers became LESS likely"),
        (-3.0, -1.0, "taught nothing useful"),
    ],
)
def test_the_drift_sentence_tells_learning_from_unlearning(chosen, rejected, says):
    drift = {"chosen_logratio": chosen, "rejected_logratio": rejected, "margin": chosen - rejected}
    assert says in shown(display={**DISPLAY, "drift": drift})


def test_an_unchanged_run_is_one_calm_paragraph_and_the_recorded_verdict():
    text = shown({**DOCUMENT, "changed": False})
    assert text.startswith("Nothing to do: the same recipe, data and model gave athene version 2 before.")
    assert "PROMOTED" in text
    assert "Before and after" not in text


def test_a_version_that_is_not_champion_is_named_by_number():
    gate = {"verdict": "hold_no_gain", "reasons": [], "baseline": "champion"}
    text = shown({**DOCUMENT, "champion_version": 1}, {**DISPLAY, "gate": gate})
    assert "HELD: no gain  athene version 2; champion: version 1" in text
    assert "dpo chat models:/athene/2" in text


def test_a_version_that_the_gate_would_promote_and_that_is_not_champion_is_not_called_promoted():
    text = shown({**DOCUMENT, "champion_version": 1, "not_promoted": "version 1 is champion: it was moved back"})
    assert "NOT PROMOTED  athene version 2; champion: version 1\n  version 1 is champion: it was moved back" in text
    assert "dpo chat models:/athene/2" in text


def test_a_check_shows_the_five_gravest_findings():
    findings = [{"severity": s, "intended": False, "check": f"c/{i}", "says": s} for i, s in enumerate(["warn"] * 6)]
    findings.append({"severity": "fail", "intended": False, "check": "leakage/prompt", "says": "in both"})
    findings.append({"severity": "info", "intended": True, "check": "shortcut/word", "says": "as meant"})
    document = CheckDocument(
        verdict="fail",
        rows_in=1000,
        rows_kept=990,
        rows_quarantined=10,
        rows_dropped=0,
        report="r.html",
        findings=findings,
        data_sha256="d",
        format="TRL",
    )
    lines = screen(show_check, document).splitlines()
    assert lines[0] == "FAIL  1,000 rows in, 990 kept, 10 quarantined"
    assert lines[1] == "fail     leakage/prompt: in both"
    assert lines[6] == "3 more in the report"


def test_an_evaluation_shows_values_with_intervals():
    metrics = {"rewards/accuracies": {"value": 0.75, "low": 0.5, "high": 0.9}}
    counts = {"pairs": 12, "rows_in": 12, "rows_quarantined": 0}
    document = EvaluateDocument(**counts, model="m", reference=None, beta=0.1, metrics=metrics, slices={})
    assert "75.0 %  50.0 % .. 90.0 %" in screen(show_evaluation, document)


def test_the_doctor_puts_the_remedy_below_what_it_mends():
    finding = SimpleNamespace(status="fail", check="mlflow", says="no answer", remedy="start it")
    lines = [line.strip() for line in screen(show_doctor, [finding]).splitlines()]
    assert lines == ["fail  mlflow  no answer", "start it"]

"""What the terminal shows at the end of a command: the claims a person reads, at 80 columns, without colours."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from flows.cli.screens import show_check, show_doctor, show_evaluation, show_retrain

DOCUMENT = {
    "model": "athene",
    "version": 2,
    "champion_version": 2,
    "changed": True,
    "verdict": "promote",
    "mlflow_run_id": "0123456789abcdef",
    "report": "/tmp/reports/retrain.html",
}
DISPLAY = {
    "before_after": [
        {"metric": "rewards/accuracies", "reference": 0.5, "challenger": 0.934, "low": 0.88, "high": 0.97},
        {"metric": "retention/neutral_text", "reference": -3.2, "challenger": -3.25, "low": -3.3, "high": -3.2},
    ],
    "answers": [{"prompt": "What is your name?", "before": "I am [bold]Elena.", "after": "Athene.\x1b[2J"}],
    "drift": {"chosen_logratio": 22.1, "rejected_logratio": -10.3, "margin": 32.4},
    "gate": {"verdict": "promote", "reasons": ["rewards/accuracies rose"]},
    "report": "/tmp/reports/quality.html",
}


def screen(show, *given) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    show(console, *given)
    return console.file.getvalue()


def test_a_run_shows_metrics_answers_drift_verdict_reports_and_what_to_type_next():
    text = screen(show_retrain, DOCUMENT, DISPLAY)
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
    text = screen(show_retrain, DOCUMENT, DISPLAY)
    assert "I am [bold]Elena." in text
    assert "\x1b" not in text


def test_nats_a_token_are_no_percentage():
    assert "-3.300 .. -3.200" in screen(show_retrain, DOCUMENT, DISPLAY)


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
    assert says in screen(show_retrain, DOCUMENT, {**DISPLAY, "drift": drift})


def test_an_unchanged_run_is_one_calm_paragraph_and_the_recorded_verdict():
    text = screen(show_retrain, {**DOCUMENT, "changed": False}, DISPLAY)
    assert text.startswith("Nothing to do: the same recipe, data and model gave athene version 2 before.")
    assert "PROMOTED" in text
    assert "Before and after" not in text


def test_a_version_that_is_not_champion_is_named_by_number():
    gate = {"verdict": "hold_no_gain", "reasons": []}
    text = screen(show_retrain, {**DOCUMENT, "champion_version": 1}, {**DISPLAY, "gate": gate})
    assert "HELD: no gain  athene version 2; champion: version 1" in text
    assert "dpo chat models:/athene/2" in text


def test_a_check_shows_the_five_gravest_findings():
    findings = [{"severity": s, "intended": False, "check": f"c/{i}", "says": s} for i, s in enumerate(["warn"] * 6)]
    findings.append({"severity": "fail", "intended": False, "check": "leakage/prompt", "says": "in both"})
    findings.append({"severity": "info", "intended": True, "check": "shortcut/word", "says": "as meant"})
    document = {"verdict": "fail", "rows_in": 1000, "rows_kept": 990, "rows_quarantined": 10, "report": "r.html"}
    lines = screen(show_check, {**document, "findings": findings}).splitlines()
    assert lines[0] == "FAIL  1,000 rows in, 990 kept, 10 quarantined"
    assert lines[1] == "fail     leakage/prompt: in both"
    assert lines[6] == "3 more in the report"


def test_an_evaluation_shows_values_with_intervals():
    metrics = {"rewards/accuracies": {"value": 0.75, "low": 0.5, "high": 0.9}}
    assert "75.0 %  50.0 % .. 90.0 %" in screen(show_evaluation, {"pairs": 12, "metrics": metrics})


def test_the_doctor_puts_the_remedy_below_what_it_mends():
    finding = SimpleNamespace(status="fail", check="mlflow", says="no answer", remedy="start it")
    lines = [line.strip() for line in screen(show_doctor, [finding]).splitlines()]
    assert lines == ["fail  mlflow  no answer", "start it"]

"""What the terminal shows at the end of a command: the claims a person reads, at 80 columns, without colours."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from flows.cli.screens import show_check, show_doctor, show_evaluation, show_retrain
from tasks.documents import CheckDocument, EvaluateDocument, Retrained

DOCUMENT = {
    "reasons": ["rewards/accuracies rose"],
    "metrics": {},
    "data_report": "data.html",
    "model": "athene",
    "version": 2,
    "champion_version": 2,
    "changed": True,
    "verdict": "promote",
    "mlflow_run_id": "0123456789abcdef",
    "report": "/tmp/reports/retrain.html",
    "weights_sha256": "w",
    "data_sha256": "d",
    "state": "promoted",
    "stages": [{"name": name, "cached": True, "seconds": 0.0} for name in ("check", "score")],
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


def test_the_drift_is_told_in_words_below_its_numbers():
    drift = {"chosen_logratio": 0.0, "rejected_logratio": 0.04, "margin": -0.04}
    text = shown(display={**DISPLAY, "drift": drift})
    assert "chosen answers +0.0   rejected answers +0.0   margin -0.0" in text
    assert "Nothing moved" in text
    assert "learned" not in text


def test_an_unchanged_run_is_one_calm_paragraph_and_the_recorded_verdict():
    text = shown({**DOCUMENT, "changed": False})
    assert text.startswith("Nothing to do: the same recipe, data and model gave athene version 2 before.")
    assert "PROMOTED" in text
    assert "Before and after" not in text


def test_a_version_that_is_not_champion_is_named_by_number():
    gate = {"verdict": "hold_no_gain", "reasons": [], "baseline": "champion"}
    text = shown({**DOCUMENT, "champion_version": 1}, {**DISPLAY, "gate": gate})
    assert "HELD: the gate asks for more  athene version 2; champion: version 1" in text
    assert "dpo chat models:/athene/2" in text


def test_a_version_that_the_gate_would_promote_and_that_is_not_champion_is_not_called_promoted():
    text = shown({**DOCUMENT, "champion_version": 1, "not_promoted": "version 1 is champion: it was moved back"})
    assert "NOT PROMOTED  athene version 2; champion: version 1\n  version 1 is champion: it was moved back" in text
    assert "dpo chat models:/athene/2" in text


@pytest.mark.parametrize(("baseline", "head"), [("champion", "champion"), ("version", "that version")])
def test_the_figures_between_before_and_after_are_of_what_was_compared_with(baseline, head):
    rows = [{**row, "champion": 0.9} for row in DISPLAY["before_after"]]
    gate = {**DISPLAY["gate"], "baseline": baseline}
    text = shown(display={**DISPLAY, "before_after": rows, "gate": gate})
    (heads,) = [line for line in text.splitlines() if line.startswith("metric")]
    assert [part.strip() for part in heads.split("  ") if part.strip()] == [
        "metric",
        "before",
        head,
        "after",
        "95 % interval",
    ]


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
    dropped = document.model_copy(update={"rows_kept": 22, "rows_dropped": 968})
    header = " ".join(screen(show_check, dropped).partition("\nfail ")[0].split())
    assert header == "FAIL 1,000 rows in, 22 kept, 10 quarantined, 968 dropped by validation.on_shortcut"


def test_an_evaluation_shows_values_with_intervals():
    metrics = {"rewards/accuracies": {"value": 0.75, "low": 0.5, "high": 0.9}}
    counts = {"pairs": 12, "rows_in": 12, "rows_quarantined": 0}
    document = EvaluateDocument(**counts, model="m", reference=None, beta=0.1, metrics=metrics, slices={})
    text = screen(show_evaluation, document)
    assert text.startswith("12 pairs\n")
    assert "75.0 %  50.0 % .. 90.0 %" in text
    assert "against     no reference: rewards are beta times the log-prob itself" in text


def test_an_evaluation_tells_what_it_left_out_and_what_it_compared_with():
    counts = {"pairs": 12, "rows_in": 1500, "rows_quarantined": 1488}
    document = EvaluateDocument(**counts, model="m", reference="./base", beta=0.1, metrics={}, slices={})
    text = screen(show_evaluation, document)
    assert "12 pairs of 1,500 rows; 1,488 cannot be used" in text
    assert "against     ./base" in text


def test_the_doctor_puts_the_remedy_below_what_it_mends():
    finding = SimpleNamespace(status="fail", check="mlflow", says="no answer", remedy="start it")
    lines = [line.strip() for line in screen(show_doctor, [finding]).splitlines()]
    assert lines == ["fail  mlflow  no answer", "start it"]


def test_the_next_command_can_be_pasted_and_tells_no_password(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/my home/mlflow.db")
    assert "ui --backend-store-uri 'sqlite:///my home/mlflow.db'" in shown()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@db/mlflow")
    text = shown()
    assert "hunter2" not in text
    assert "backend-store-uri" not in text  # with stars in it, the command would not work


VERDICT_WORDS = {
    "promote": "PROMOTED",
    "hold_underpowered": "HELD: too little was measured to tell",
    "hold_no_gain": "HELD: the gate asks for more",
    "reject_regression": "REJECTED: something got worse",
}


@pytest.mark.parametrize("verdict", VERDICT_WORDS)
def test_each_verdict_of_the_gate_has_its_headline(verdict):
    gate = {"verdict": verdict, "reasons": ["because of x"], "baseline": "champion"}
    text = shown({**DOCUMENT, "verdict": verdict, "champion_version": None}, {**DISPLAY, "gate": gate})
    assert f"{VERDICT_WORDS[verdict]}  athene version 2; champion: none yet\n  because of x" in text


def test_a_champion_has_a_column_of_its_own_and_a_value_that_is_not_there_is_a_dash():
    rows = [{**row, "champion": champion} for row, champion in zip(DISPLAY["before_after"], (0.75, None), strict=True)]
    text = shown(display={**DISPLAY, "before_after": rows})
    assert "metric                  before  champion   after" in text
    assert "rewards/accuracies      50.0 %    75.0 %  93.4 %" in text
    assert "retention/neutral_text  -3.200         -  -3.250" in text

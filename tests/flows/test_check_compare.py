"""`dpo check --compare`: on the screen, in the document, and refused before anything is read or written."""

import json

import pytest

from flows.cli.app import run
from flows.cli.screens import show_check
from tasks.documents import CheckDocument
from tests.flows.test_screens import screen


def pairs(path, telling, of=60):
    """`of` pairs; in the first `telling` of them a word stands in the chosen answer only."""
    rows = [
        {
            "prompt": f"question {n}",
            "chosen": f"to the {('left', 'west')[n % 2]}{' certainly' * (n < telling)}",
            "rejected": f"to the {('west', 'left')[n % 2]}",
        }
        for n in range(of)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_is_new_is_told_in_the_document_the_page_and_on_the_screen(tmp_path, home, capfd):
    assert run(["check", pairs(tmp_path / "p.jsonl", 0), "--json"]) == 0
    before = json.loads(capfd.readouterr().out)
    again = ["check", pairs(tmp_path / "p.jsonl", 60), "--compare", before["report"], "--json"]
    assert run(again) == 3
    out, err = capfd.readouterr()
    found = json.loads(out)["compare"]
    assert (found["verdict_before"], found["verdict_after"], found["same_data"]) == ("pass", "fail", False)
    assert ("new", "fail") in {(c["change"], c["after"]["severity"]) for c in found["findings"] if c["after"]}
    assert "pass before, fail now; findings:" in err
    folder = home / "reports" / "check-p.jsonl-2"
    assert json.loads((folder / "quality.json").read_text())["compare"] == found
    assert "Pass before, fail now" in (folder / "quality.html").read_text()


def test_a_file_that_is_no_report_is_exit_2_and_nothing_is_written(tmp_path, home, capfd):
    data = pairs(tmp_path / "p.jsonl", 0)
    assert run(["check", data, "--compare", data, "--json"]) == 2
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["says"] == "this is no data quality report"
    assert error["where"] == data
    assert not (home / "reports").exists()


def test_the_screen_names_each_change_with_its_strength_before_and_now():
    state = {"severity": "warn", "statistic": "accuracy", "strength": 0.55}
    stronger = {"change": "stronger", "check": "shortcut/word", "feature": "word 'x'", "before": state}
    stronger["after"] = state | {"severity": "fail", "strength": 0.7}
    gone = {"change": "gone", "check": "leakage/prompt", "feature": "", "before": state, "after": None}
    compared = {"report": "old", "verdict_before": "warn", "verdict_after": "fail", "same_data": False}
    compared |= {"findings": [stronger, gone], "unchanged": 3}
    counts = {"rows_in": 1, "rows_kept": 1, "rows_quarantined": 0, "rows_dropped": 0}
    named = {"verdict": "fail", "report": "r", "data_sha256": "d", "format": "TRL"}
    document = CheckDocument(**counts, **named, findings=[], compare=compared)
    lines = [line.strip() for line in screen(show_check, document).splitlines()]
    assert "Against old" in lines
    assert "warn before, fail now; findings: 1 stronger, 1 gone, 3 unchanged" in lines
    assert "stronger  word 'x'        warn (accuracy 0.55)  ->  fail (accuracy 0.7)" in lines
    assert "gone      leakage/prompt  warn (accuracy 0.55)  ->  none" in lines

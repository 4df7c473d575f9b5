"""`dpo check`: of a recipe or of pairs, with the aims that are declared; a report that is compared with is kept."""

import json

import pytest

from flows.cli.app import run
from tests.flows.test_check_compare import pairs


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def checked(home, capfd):
    def check(*arguments: str, code: int = 0) -> dict:
        assert run(["check", *arguments, "--json"]) == code
        return json.loads(capfd.readouterr().out)

    return check


@pytest.mark.parametrize("aim", ["certainly", "/certain.*/"])
def test_an_aim_that_is_declared_does_not_fail_the_check(tmp_path, checked, aim):
    data = pairs(tmp_path / "p.jsonl", 60)
    assert checked(data, code=3)["verdict"] == "fail"
    document = checked(
        data, "--intended", aim, "--set", "validation.length_fail=1", "--set", "validation.length_warn=1"
    )
    assert document["verdict"] != "fail"
    assert any(finding["intended"] for finding in document["findings"])


def test_a_rule_is_set_for_one_check(tmp_path, checked):
    data = pairs(tmp_path / "p.jsonl", 0)
    document = checked(data, "--set", "validation.min_pairs=61", code=3)
    [finding] = [f for f in document["findings"] if f["check"] == "structure/min_rows"]
    assert "60 pairs are left, and validation.min_pairs asks for 61" in finding["says"]
    assert "set validation.min_pairs to 60" in finding["says"]
    assert checked(data, "--set", "validation.min_pairs=60")["verdict"] == "pass"


def test_most_pairs_dropped_for_a_shortcut_are_a_warning_with_counts_and_no_pass(tmp_path, home, capfd):
    """93 of 115 pairs: what is left is not what was given."""
    data = pairs(tmp_path / "p.jsonl", 93, of=115)
    assert run(["check", data, "--set", "validation.on_shortcut=balance", "--json"]) == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["verdict"] == "warn"
    assert document["rows_in"] == document["rows_kept"] + document["rows_dropped"] + document["rows_quarantined"]
    assert document["rows_dropped"] >= 90
    header = " ".join(err.partition("report")[0].split())
    assert (
        f"WARN 115 rows in, {document['rows_kept']} kept, 0 quarantined, {document['rows_dropped']} dropped by"
        in header
    )
    assert f"shortcut/mitigation: {document['rows_dropped']} of 115 pairs were dropped" in header
    page = (home / "reports" / "check-p.jsonl" / "quality.html").read_text()
    assert "Train on it" not in page
    assert f"{document['rows_dropped']} pairs were dropped by validation.on_shortcut" in page


def test_too_few_pairs_left_after_dropping_fail(tmp_path, checked):
    data = pairs(tmp_path / "p.jsonl", 55)
    rules = ["--set", "validation.on_shortcut=drop", "--set", "validation.min_pairs=50"]
    document = checked(data, *rules, code=3)
    assert "structure/min_rows" in [finding["check"] for finding in document["findings"]]


def test_a_report_that_is_compared_with_is_never_overwritten(tmp_path, home, checked):
    (tmp_path / "new").mkdir()
    first = checked(pairs(tmp_path / "p.jsonl", 0))
    kept = {file.name: file.read_bytes() for file in (home / "reports" / "check-p.jsonl").iterdir()}
    second = checked(pairs(tmp_path / "new" / "p.jsonl", 60), "--compare", first["report"], code=3)
    third = checked(pairs(tmp_path / "new" / "p.jsonl", 0), "--compare", second["report"])
    assert {file.name: file.read_bytes() for file in (home / "reports" / "check-p.jsonl").iterdir()} == kept
    assert len({first["report"], second["report"], third["report"]}) == 3
    assert third["compare"]["verdict_before"] == "fail"


def test_a_folder_for_the_report_that_holds_what_it_is_compared_with_is_refused(tmp_path, home, capfd):
    data, folder = pairs(tmp_path / "p.jsonl", 0), str(tmp_path / "report")
    assert run(["check", data, "--report", folder]) == 0
    assert run(["check", data, "--report", folder, "--compare", f"{folder}/quality.html"]) == 2
    assert "name another folder with --report" in capfd.readouterr().err
    assert run(["check", data, "--report", f"{folder}-2", "--compare", f"{folder}/quality.html"]) == 0


def test_options_that_a_recipe_has_keys_for_are_refused_with_the_key(tmp_path, home, capfd):
    recipe = tmp_path / "run.yaml"
    recipe.write_text("name: a\nmodel: ./m\ndata: {train: p.jsonl}\n")
    assert run(["check", str(recipe), "--model", "m"]) == 2
    assert "--set model=..." in capfd.readouterr().err


def test_a_key_that_only_a_run_has_is_refused_for_bare_pairs(tmp_path, home, capfd):
    assert run(["check", pairs(tmp_path / "p.jsonl", 0), "--set", "training.beta=1"]) == 2
    assert "dpo init --data" in capfd.readouterr().err
    assert not (home / "reports").exists()

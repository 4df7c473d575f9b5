"""The check task on a folder store, and the files that it writes."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from dpo_core.curate.curation import Curation
from dpo_core.data.digests import digest_file
from dpo_core.data.pairs import lines_of
from dpo_core.data.shapes import to_pair
from dpo_core.recipe import Recipe
from dpo_core.recipe_file import recipe_of_pairs
from infra.settings import load_settings
from infra.store import open_store
from tasks.check import check
from tasks.commands.check_pairs import check_only
from tasks.curate.check import check_pairs
from tasks.curate.records import CurationPlan, Paired
from tasks.documents import CheckDocument, DataCheckFailed
from tasks.records import Stage
from tasks.runtime.pairs import stored_pairs
from tasks.runtime.stages import remembered
from tasks.states import named_end


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def neutral(count, **extra):
    """Pairs whose sides differ in one word, which half of the time is on the other side."""
    words = ["left", "west"]
    return [
        {
            "prompt": f"question {n}",
            "chosen": f"to the {words[n % 2]}",
            "rejected": f"to the {words[1 - n % 2]}",
            **extra,
        }
        for n in range(count)
    ]


@pytest.fixture
def judged(tmp_path, tiny_model, monkeypatch, make_plan):
    """Run the task on one file with the given validation settings; get back what its report says, and if cached."""
    data = write(tmp_path / "p.jsonl", [*neutral(60), *neutral(3)])  # 3 of 63 rows are copies
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tasks.check.publish", lambda *_: None)

    def run(**validation):
        recipe = Recipe(name="n", model="m", data={"train": data, "text": "turns"}, validation=validation)
        files = {path: digest_file(Path(path)) for path in (data, *recipe.validation.benchmarks.values())}
        plan = make_plan(recipe=recipe, model_folder=str(tiny_model), files=files)
        stages = []
        monkeypatch.setattr("tasks.check.remembered", lambda *a, **k: stages.append(remembered(*a, **k)) or stages[-1])
        try:
            report = check.fn(plan).report
        except DataCheckFailed as failed:
            report = failed.document.report
        [(output, stage)] = stages
        document = json.loads(Path(report).with_name("quality.json").read_text())
        assert document["verdict"] == output.verdict
        return document["verdict"], stage.cached

    return run


def test_other_limits_give_another_report_and_the_first_is_still_there(judged):
    assert judged(max_duplicates=0.5) == ("pass", False)
    assert judged(max_duplicates=0.0) == ("fail", False)
    assert judged(max_duplicates=0.5) == ("pass", True)


def test_a_run_that_goes_on_tells_each_warning_with_what_to_do(tmp_path, judged, caplog):
    (tmp_path / "exam.txt").write_text("question 1\n")
    rules = {"max_duplicates": 0.5, "benchmarks": {"exam": str(tmp_path / "exam.txt")}}

    def told():
        caplog.clear()
        assert judged(**rules)[0] == "warn"
        return [record.getMessage() for record in caplog.records if "data_warning" in record.getMessage()]

    (first,) = told()
    assert first.startswith("data_warning check=leakage/benchmark_exam says='")
    assert told() == [first]  # a stage that is found tells it too


def test_a_benchmark_file_that_was_edited_is_checked_against_anew(tmp_path, judged):
    rules = {"max_duplicates": 0.5, "benchmarks": {"exam": str(tmp_path / "exam.txt")}}
    (tmp_path / "exam.txt").write_text("another question\n")
    assert judged(**rules) == ("pass", False)
    (tmp_path / "exam.txt").write_text("question 1\n")
    assert judged(**rules) == ("warn", False)
    (tmp_path / "moved.txt").write_text("question 1\n")
    assert judged(**rules | {"benchmarks": {"exam": str(tmp_path / "moved.txt")}}) == ("warn", True)


def test_a_column_named_by_half_a_surrogate_pair_is_written_as_an_escape(tmp_path):
    data = write(tmp_path / "p.jsonl", neutral(20, **{"\ud800": 1}))
    check_only(recipe_of_pairs(data, None, None, [], []), tmp_path / "report", load_settings())
    assert "\\ud800 (20 rows)" in (tmp_path / "report/quality.html").read_text()


def test_a_run_that_the_check_ended_has_its_models_artifact_as_other_ends_have(monkeypatch):
    shown = []
    monkeypatch.setattr("tasks.states.create_markdown_artifact", lambda _, *, key, description: shown.append(key))
    document = CheckDocument.model_construct(findings=[], report="quality.html")

    @named_end
    def run():
        raise pickle.loads(pickle.dumps(DataCheckFailed(document, "My Model")))  # as it comes out of a task

    assert run().name == "DataFailed"
    assert shown == ["retrain-my-model"]


@pytest.mark.parametrize("plain", [True, False])
def test_the_check_of_a_curation_passes_text_on_as_text_and_messages_as_messages(tmp_path, monkeypatch, plain):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tasks.curate.check.publish", lambda *_: None)
    store = open_store(load_settings())
    pairs = [replace(to_pair(row, ""), plain=plain) for row in neutral(60, meta={"annotator": "anna"})]
    store.put_bytes("pairs.jsonl", lines_of(pairs)[0])
    counts = {"pairs": 60, "new": 60, "dropped": {}, "notes": []}
    paired = Paired(key="pairs.jsonl", **counts, stage=Stage(name="pair", cached=False, seconds=0.0))
    curation = Curation(name="c", model="m", feedback={"judgements": ["j.jsonl"]})
    content = {"validation": {}, "encoding": {}}
    given = {"folder": str(tmp_path), "sources": {}, "threads": 1, "force": False, "run_id": "", "run_url": ""}
    plan = CurationPlan(curation=curation, content=content, model="m", **given)
    checked = stored_pairs(store, check_pairs.fn(plan, paired).rows_key)
    assert [(pair.id, pair.plain) for pair in checked] == [(pair.id, plain) for pair in pairs]

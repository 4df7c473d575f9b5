"""The flow `quality` on Prefect's server: a failing data set leaves its report in the run, the store and the page."""

import pytest

from tasks.documents import DataCheckFailed
from tests.recipes import tiny_recipe


def test_a_check_leaves_its_report_with_mlflow_the_store_and_prefect(prefect_server, tmp_path, monkeypatch):
    from mlflow import MlflowClient
    from prefect.client.orchestration import get_client

    from flows.quality import quality
    from infra.settings import load_settings
    from infra.store import open_store

    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    recipe = str(tiny_recipe(tmp_path))
    document = quality(recipe, ["name=watched"])
    with pytest.raises(DataCheckFailed):
        quality(recipe, ["name=watched", "validation.min_pairs=100000"])

    with get_client(sync_client=True) as client:
        artifacts = [a for a in client.read_artifacts() if a.key == "dq-report-watched"]
    assert [str(a.data).splitlines()[0] for a in artifacts if "# Fail" in str(a.data)] == [
        "# Fail: data quality of watched"
    ]
    assert len(artifacts) == 2
    assert any(f"`{document.report}`" in str(a.data) for a in artifacts)

    runs = MlflowClient()
    [experiment] = [e.experiment_id for e in runs.search_experiments() if e.name == "watched"]
    for run in runs.search_runs([experiment]):
        files = {file.path for file in runs.list_artifacts(run.info.run_id, "reports")}
        assert {"reports/quality.html", "reports/quality.json"} <= files
    store = open_store(load_settings())
    key = document.report.partition("/home/")[2]
    assert store.get_bytes(key).startswith(b"<!doctype html>")


def test_a_recipes_check_is_the_stage_of_its_run_with_its_aims_and_tells_it_on_prefects_page(
    prefect_server, tmp_path, monkeypatch
):
    """The second check finds the stage of the first; what is compared with stays; lines reach the flow's page."""
    from prefect.logging.handlers import APILogHandler

    from flows.quality import check_recipe

    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    sent: list[str] = []
    monkeypatch.setattr(APILogHandler, "emit", lambda self, record: sent.append(record.getMessage()))
    recipe = str(tiny_recipe(tmp_path, validation={"intended": ["yea"]}))
    first = check_recipe(recipe, intended=["nay"])
    assert first.verdict != "fail"
    aims = " ".join(finding.feature for finding in first.findings if finding.intended)
    assert "yea" in aims
    assert "nay" in aims
    assert any(line.startswith(f"data_checked verdict={first.verdict} of=") for line in sent)

    def never(*_):
        raise AssertionError("examined again")

    monkeypatch.setattr("tasks.check.examine_request", never)
    again = check_recipe(recipe, intended=["nay"], earlier=first.report, report_folder=str(tmp_path / "report"))
    assert again.compare is not None
    assert again.compare["same_data"] is True
    assert again.report == str(tmp_path / "report" / "quality.html")
    assert again.findings == first.findings

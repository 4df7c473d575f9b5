"""The first task of a run and of a curation: what stops it after the MLflow run is open ends that, too."""

import shutil

import pytest
import yaml
from mlflow import MlflowClient

from dpo_core.errors import InputError
from infra.registry.versions import WEIGHTS
from infra.tracking.runs import attach_run
from tasks.curate.plan import plan_curation
from tasks.plan import plan
from tasks.runtime.start import REQUEST, START, START_WEIGHTS
from tests.recipes import tiny_recipe, write_jsonl

CURATION = {
    "name": "unreached",
    "model": "endpoint:writer",
    "endpoints": {"writer": {"url": "http://127.0.0.1:9/v1", "model": "m"}},
    "prompts": {"sources": [{"path": "asked.jsonl"}]},
    "correction": {"model": "endpoint:writer", "rewriting": {"instruction": "Be brief."}},
}


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """How MLflow runs of a name have ended once a task's function of some name refused, as `ask` found out."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))

    def statuses(function, name, ask):
        def refuse(*_):
            raise InputError("not so", where="here", do="something else")

        monkeypatch.setattr(function, refuse)
        with pytest.raises(InputError, match="not so"):
            ask()
        client = MlflowClient()
        runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        return [run.info.status for run in runs]

    return statuses


def test_a_run_that_cannot_be_compared_with_its_champion_ends_as_failed(tmp_path, refused):
    recipe = str(tiny_recipe(tmp_path / "recipe"))
    given = "tasks.plan.require_comparable", "other", lambda: plan.fn(recipe, ["name=other"], force=False)
    assert refused(*given) == ["FAILED"]


def test_the_first_week_again_after_its_promotion_is_the_same_run_from_the_base_model(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    recipe, client = str(tiny_recipe(tmp_path / "recipe")), MlflowClient()
    first = plan.fn(recipe, given := ["name=week-one", "retrain.start=champion"], force=False)
    client.create_registered_model("week-one")
    made = {REQUEST: first.request, START: first.start_model, START_WEIGHTS: first.weights_sha256}
    client.create_model_version("week-one", str(tmp_path), first.run_id, tags={WEIGHTS: "a" * 64, **made})
    client.set_registered_model_alias("week-one", "champion", "1")
    again = plan.fn(recipe, given, force=False)
    assert (again.start_model, again.run_id, again.champion.number) == (first.recipe.model, first.run_id, 1)


def test_a_finished_run_given_from_another_place_of_its_model_stays_finished_whatever_its_plan_ends_in(
    tmp_path, refused
):
    recipe = str(tiny_recipe(tmp_path / "recipe"))
    first = plan.fn(recipe, ["name=moved"], force=False)
    attach_run(first.run_id).finish("FINISHED")
    shutil.copytree(first.model_folder, tmp_path / "elsewhere")
    moved = ["name=moved", f"model={tmp_path}/elsewhere"]
    assert plan.fn(recipe, moved, force=False).run_id == first.run_id
    assert MlflowClient().get_run(first.run_id).data.params["model"] == first.recipe.model
    assert refused("tasks.plan.require_comparable", "moved", lambda: plan.fn(recipe, moved, force=False)) == [
        "FINISHED"
    ]


def test_a_curation_whose_endpoint_is_away_ends_as_failed(tmp_path, refused):
    write_jsonl(tmp_path / "asked.jsonl", [{"prompt": "who?"}])
    recipe = tmp_path / "curate.yaml"
    recipe.write_text(yaml.safe_dump(CURATION))
    given = "tasks.curate.plan.require_there", "unreached", lambda: plan_curation.fn(str(recipe), [], force=False)
    assert refused(*given) == ["FAILED"]


def test_a_curation_whose_pairs_are_to_be_weighed_is_refused_as_no_data_set_keeps_weights(tmp_path):
    recipe = tmp_path / "curate.yaml"
    recipe.write_text(yaml.safe_dump(CURATION | {"validation": {"on_shortcut": "balance"}}))
    with pytest.raises(InputError, match="a data set keeps no weights"):
        plan_curation.fn(str(recipe), [], force=False)


def test_adapters_that_the_model_has_no_place_for_are_told_before_a_run_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    recipe = str(tiny_recipe(tmp_path / "recipe"))
    with pytest.raises(InputError, match="an adapter of lm_head, whose weight is tied"):
        plan.fn(recipe, ["name=unopened", "training.lora.target_modules=[q_proj, lm_head]"], force=False)
    assert MlflowClient().get_experiment_by_name("unopened") is None

"""What models score on tasks of lm-eval is asked once for each, by the content of the task."""

import json
from types import SimpleNamespace

import pytest

from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from infra.store.folder import FolderStore
from tasks.evaluation import harness
from tasks.evaluation.harness import harness_plan, harness_scores


@pytest.fixture
def asked(tmp_path, make_plan, monkeypatch):
    """A run with the task `sums`, whose content may change; what its models were asked is in `asked.of`."""
    content, of = {"sha256": "1"}, []

    def score(task, model, tokenizer, settings, **how):
        of.append((model, task.name))
        return [1.0, float(model == "new")]

    def task():
        return SimpleNamespace(name="sums", prompts=["2 + 3 =", "3 + 4 ="], **content)

    monkeypatch.setattr(harness, "_tasks", lambda settings: {"sums": task()} if settings else {})
    monkeypatch.setattr("dpo_core.evaluate.harness.scores.item_scores", score)
    monkeypatch.setattr("tasks.runtime.device.load_on_device", lambda folder, **_: folder)
    monkeypatch.setattr("dpo_core.model.encode.load_tokenizer", lambda folder, **_: None)
    store = FolderStore(tmp_path / "store")
    recipe = Recipe(name="n", model="m", data={"train": "t"}, evaluation={"lm_eval": {"tasks": ["sums"]}})
    plan = make_plan(recipe=recipe, model_folder="m", lm_eval=harness_plan(recipe.evaluation.lm_eval))
    scored = SimpleNamespace(path={"dtype": "float32", "model": "not asked for"})

    def ask(*models, plan=plan):
        return harness_scores(store, plan, scored, models, lambda sha: sha)

    return SimpleNamespace(ask=ask, of=of, plan=plan, content=content)


def test_each_model_is_asked_once_and_the_scores_stand_by_metric(asked):
    first = asked.ask("old", "new")
    assert first.values == {"old": {"lm_eval/sums": [1, 0]}, "new": {"lm_eval/sums": [1, 1]}}
    assert first.prompts["lm_eval/sums"][1] == ({"role": "user", "content": "3 + 4 ="},)
    assert asked.ask("new", "old") == first
    assert asked.of == [("old", "sums"), ("new", "sums")]


def test_another_content_is_another_question(asked):
    asked.ask("old")
    asked.content["sha256"] = "2"
    again = asked.plan.model_copy(update={"lm_eval": harness_plan(asked.plan.recipe.evaluation.lm_eval)})
    asked.ask("old", plan=again)
    assert len(asked.of) == 2


def test_the_same_weights_under_another_configuration_are_asked_again(asked, tmp_path):
    plan = asked.plan.model_copy(update={"model_folder": str(tmp_path), "weights_sha256": "old"})
    for theta in (1e4, 1e6, 1e4):
        (tmp_path / "config.json").write_text(json.dumps({"rope_theta": theta, "dtype": str(theta)}))
        asked.ask("old", plan=plan)
    (tmp_path / "config.json").write_text(json.dumps({"rope_theta": 1e4, "dtype": "how it is stored"}))
    asked.ask("old", plan=plan)
    assert len(asked.of) == 2


def test_a_task_that_changes_while_a_run_is_under_way_stops_it(asked):
    asked.content["sha256"] = "2"
    with pytest.raises(InputError, match="has changed since the run began"):
        asked.ask("old")


def test_a_recipe_without_tasks_asks_nothing(asked):
    assert harness_plan(None) == {}
    nothing = asked.ask("old", plan=asked.plan.model_copy(update={"lm_eval": {}}))
    assert nothing.prompts == {}
    assert nothing.values == {"old": {}}

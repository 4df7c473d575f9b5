"""Rounds that were made are looked up for as long as all that decided them is the same."""

import json
import os
from types import SimpleNamespace

import pytest
import yaml

from flows.rounds import rounds
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from tasks.commands.gc import DAY_S, find_garbage, remove
from tasks.curate.documents import CurateDocument
from tasks.records import HarnessPlan
from tasks.rounds import begin
from tests.recipes import write_jsonl
from tests.tiny import build_tiny_model

RETRAIN = {
    "name": "n",
    "model": "./model",
    "reference": "./reference",
    "data": {"train": "dataset:c@latest", "eval": "eval.jsonl"},
    "training": {"online": {"curation": "online.yaml"}},
    "evaluation": {"behaviour": {"s": "suite.jsonl"}, "neutral_text": "neutral.txt", "rewards": "rewards.yaml"},
    "gate": {"improve": ["behaviour/s"]},
}
CURATION = {
    "name": "c",
    "model": "./model",
    "prompts": {"sources": [{"path": "asked.jsonl"}], "keep_out": {"exam": "exam.txt"}},
    "rewards": {
        "entry_point": {"function": "my_reward.py:score"},
        "judge": {"model": "endpoint:j", "labels": "labels.jsonl"},
    },
    "endpoints": {"j": {"url": "http://127.0.0.1:9/v1", "model": "m"}},
    "rounds": {"retrain": "retrain.yaml"},
}
REWARDS = {"entry_point": {"function": "asked_reward.py:score"}, "judge": {"model": "./judge"}}
ONLINE = {
    "name": "o",
    "model": "./model",
    "prompts": {"sources": [{"path": "asked.jsonl"}]},
    "rewards": {"entry_point": {"function": "online_reward.py:score"}},
}
RECIPES = {"retrain": RETRAIN, "curate": CURATION, "online": ONLINE, "rewards": {"rewards": REWARDS}}
SCORE = "def score(prompt, answers, wanted):\n    return [1.0 for _ in answers]\n"
CHECK = json.dumps({"prompt": "say a", "must_contain": "a"}) + "\n"
PAIR = json.dumps({"prompt": "a?", "chosen": "b", "rejected": "c"}) + "\n"
MODELS = ("model", "reference", "judge")
FILES = {
    "my_reward.py": SCORE,
    "asked_reward.py": SCORE,
    "online_reward.py": SCORE,
    "labels.jsonl": PAIR,
    "exam.txt": "an exam\n",
    "suite.jsonl": CHECK,
    "eval.jsonl": PAIR,
    "neutral.txt": "The sea is blue.\n",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounds")
    for name in MODELS:
        build_tiny_model(folder / name)
    write_jsonl(folder / "asked.jsonl", [{"prompt": "who?"}])
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for name, values in RECIPES.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder / "curate.yaml"


def key(recipe, *overrides):
    return begin(str(recipe), list(overrides)).key


def test_more_rounds_and_other_limits_of_them_go_on_with_what_was_made(recipe):
    assert key(recipe, "rounds.count=5", "rounds.stop.openings=0.7") == key(recipe)


@pytest.mark.parametrize("name", FILES)
def test_other_contents_of_a_file_that_a_recipe_names_are_other_rounds(recipe, name):
    before = key(recipe)
    (recipe.parent / name).write_text(FILES[name].replace("\n", " \n", 1))
    assert key(recipe) != before
    (recipe.parent / name).write_text(FILES[name])
    assert key(recipe) == before


@pytest.mark.parametrize("name", MODELS)
def test_other_weights_in_the_folder_of_a_model_are_other_rounds(recipe, name):
    before = key(recipe)
    build_tiny_model(recipe.parent / name, seed=1)
    assert key(recipe) != before
    build_tiny_model(recipe.parent / name)
    assert key(recipe) == before


def test_another_task_of_lm_eval_under_the_same_name_makes_other_rounds(recipe, monkeypatch):
    def with_task(sha256):
        task = HarnessPlan(sha256=sha256, prompts=12)
        monkeypatch.setattr("tasks.rounds.harness_plan", lambda asked: {"sums": task})
        return key(recipe)

    assert with_task("1") == with_task("1") != with_task("2")


class Makes:
    """Curations and trainings that cost nothing: of each round the data set and the gate's verdict."""

    def __init__(self, *made):
        self.made, self.forced, self.trained = iter(made), [], 0

    def curate(self, recipe, overrides, force):
        dataset, self.verdict = next(self.made)
        self.forced.append(force)
        empty = {"pilot": "", "left_out": {}, "dropped": {}, "notes": [], "facts": None, "changes": {}, "judges": {}}
        known = {"way": "rewards", "model": "m", "verdict": "pass", "report": "", "mlflow_run_id": ""}
        counts = dict.fromkeys(("rows", "new", "prompts", "answers"), 1)
        made = {"dataset": dataset, "changed": True, "spent": [], "stages": []}
        return CurateDocument(**empty, **known, **counts, **made)

    def retrain(self, recipe, overrides):
        self.trained += 1
        version = int(overrides[0].rpartition("@")[2])  # one a data set
        return SimpleNamespace(document=SimpleNamespace(model="n", version=version, verdict=self.verdict, metrics={}))


@pytest.fixture
def told(recipe, request, monkeypatch):
    """Make rounds, of which each comes to a data set and a verdict."""
    name = f"name={request.node.name.replace('_', '-')}"

    def rounds_of(*made, force=False):
        work = Makes(*made)
        monkeypatch.setattr("flows.rounds.curate", work.curate)
        monkeypatch.setattr("flows.rounds.retrain", work.retrain)
        return rounds.fn(str(recipe), [name], force), work

    return rounds_of


PROMOTED = (("dataset:c@1", "promote"), ("dataset:c@2", "promote"))


def test_rounds_that_were_made_outlive_garbage_collection(told, tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    monkeypatch.setattr(versions, "all_versions", list)
    first, _ = told(*PROMOTED)
    store = open_store(load_settings())
    for path in (store.root / "stages").rglob("*.json"):
        os.utime(path, (0, 0))
    remove(store, find_garbage(store, older_than_s=7 * DAY_S))
    again, work = told()
    assert (again, work.trained) == (first, 0)


def test_rounds_by_force_whose_pairs_come_out_the_same_keep_what_was_trained_and_its_verdict(told):
    first, _ = told(*PROMOTED)
    forced, work = told(("dataset:c@1", "hold_no_gain"), ("dataset:c@2", "hold_no_gain"), force=True)
    assert (work.forced, work.trained) == ([True, True], 0)
    assert first == forced == told()[0]


def test_other_pairs_by_force_are_trained_on_and_replace_a_round_once_they_are_promoted(told):
    first, _ = told(*PROMOTED)
    held, work = told(("dataset:c@3", "reject_regression"), force=True)
    assert (work.trained, held.ended) == (1, "round 1: the gate found no gain (reject_regression)")
    assert told()[0] == first
    anew, _ = told(("dataset:c@4", "promote"), ("dataset:c@5", "hold_no_gain"), force=True)
    assert [line.model for line in anew.rounds] == ["models:/n/4", "models:/n/5"]
    assert told()[0] == anew != first

"""Rounds that were made are looked up for as long as all that decided them is the same."""

import json

import pytest
import yaml

from tasks.curate.rounds import begin
from tasks.records import HarnessPlan
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
        monkeypatch.setattr("tasks.curate.rounds.harness_plan", lambda asked: {"sums": task})
        return key(recipe)

    assert with_task("1") == with_task("1") != with_task("2")

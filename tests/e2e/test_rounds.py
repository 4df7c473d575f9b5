"""Rounds of curation and training on a model that learns a letter: what each takes from the one before, and the end."""

import json
import re
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from infra.registry import versions
from infra.registry.versions import by_number
from tests.recipes import NOUNS, write_jsonl
from tests.tiny import build_talking_model

pytestmark = pytest.mark.usefixtures("prefect_server")
LENIENT = ("length_warn", "length_fail", "max_near_duplicates", "max_quarantined", "max_duplicates", "max_identical")


def write_rounds(folder, *, wish, rewards, rounds, tokens=6, training=()):
    """The recipe of rounds in a folder: a model that says letters by chance, a reward, and a suite that asks a wish."""
    build_talking_model(folder / "model")
    write_jsonl(folder / "prompts.jsonl", [{"prompt": f"say {noun} {n}"} for noun in NOUNS for n in range(6)])
    checks = [{"prompt": f"tell {noun} {n}", **wish} for noun in NOUNS for n in range(3)]
    write_jsonl(folder / "checks.jsonl", checks)
    validation = {"intended": ["/.*/"], "min_pairs": 4, **dict.fromkeys(LENIENT, 1.0)}
    retrain = {
        "name": "letter",
        "model": "./model",
        "data": {"train": "dataset:letters@latest"},
        "validation": validation,
        "training": {"learning_rate": 1e-2, "num_train_epochs": 8.0, "train_batch_size": 8, **dict(training)},
        "evaluation": {"max_new_tokens": tokens, "behaviour": {"letter": "checks.jsonl"}, "uptake_pairs": 0},
        "gate": {"improve": ["behaviour/letter"], "min_items": 8},
    }
    curation = {
        "name": "letters",
        "model": "./model",
        "seed": 5,
        "prompts": {"sources": [{"path": "prompts.jsonl"}], "near": "all", "count": 60},
        "answers": {"samples": 6, "max_new_tokens": tokens, "pilot": 6},
        "rewards": {"rules": rewards},
        "choice": {"longer_wins": 1.0, "ended": "any", "alike": 1.0},
        "validation": validation,
        "rounds": {"retrain": "retrain.yaml", **rounds},
    }
    for name, values in (("retrain", retrain), ("curate", curation)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder / "curate.yaml"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Answers with an `a` are better; two rounds, whatever their openings and lengths."""
    folder, rule = tmp_path_factory.mktemp("rounds"), {"count": 2, "stop": {"openings": 0.0, "longer": 9.0}}
    path = write_rounds(folder, wish={"must_contain": ["a"]}, rewards={"must_contain": "a"}, rounds=rule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_HOME", str(folder / "home"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield path


@pytest.fixture(scope="module")
def told(recipe):
    from flows.rounds import rounds

    return rounds(str(recipe))


def curation_of(line):
    """The curation as its MLflow run keeps it, overrides and all."""
    return json.loads(Path(MlflowClient().download_artifacts(line.curation.mlflow_run_id, "curation.json")).read_text())


def test_a_letter_is_learnt_and_the_second_round_answers_with_the_model_that_the_first_made(told):
    first, second = told.rounds
    assert (first.number, first.verdict, first.model) == (1, "promote", "models:/letter/1")
    assert first.metrics["behaviour/letter"] > 0.9
    assert second.curation.model == first.model
    assert second.curation.facts.reward > first.curation.facts.reward + 0.1
    assert (first.curation.dataset, second.curation.dataset) == ("dataset:letters@1", "dataset:letters@2")


def test_each_round_has_random_numbers_of_its_own_from_the_recipes_seed_on(told):
    assert [curation_of(line)["seed"] for line in told.rounds] == [5, 6]


def test_each_training_starts_from_the_model_before_and_the_reference_stays_the_first(told, recipe):
    params = [MlflowClient().get_run(by_number("letter", number).run_id).data.params for number in (1, 2)]
    first = str(recipe.parent / "model")
    assert [run["model"] for run in params] == [first, "models:/letter/1"]
    assert params[1]["recipe.reference"] == first


def test_answers_that_become_one_end_it_by_the_rounds_own_numbers(told, recipe):
    from flows.rounds import rounds

    assert "rounds.stop" not in told.ended
    again = rounds(str(recipe), ["rounds.stop.openings=0.7"])
    assert again.rounds == told.rounds
    assert "round 2: entropy of first words fell to" in again.ended
    assert "in round 1, below 70% of it: the answers become one (rounds.stop.openings)" in again.ended


def test_the_command_again_makes_no_round_anew(told, recipe, capsys):
    from flows.cli.app import run

    assert run(["curate", str(recipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(told.to_json()))


def test_from_a_champion_the_reference_is_the_version_that_was_champion_and_a_new_champion_begins_anew(told, recipe):
    from tasks.rounds import begin

    from_alias = ["model=models:/letter@champion"]
    story = begin(str(recipe), from_alias)
    assert story.first_model == "models:/letter/1"
    again = story.with_round(told.rounds[0])
    assert "reference=models:/letter/1" in again.retrain_overrides(told.rounds[1].curation)
    assert begin(str(recipe), from_alias).key == story.key
    versions.set_alias("letter", "champion", 2)
    assert begin(str(recipe), from_alias).key != story.key


@pytest.mark.campaign  # a round more; the rule has tests of its own in dpo_core/curate/test_curves.py
def test_a_reward_that_pays_for_length_is_stopped_by_the_curve_of_length_before_a_second_training(
    tmp_path, monkeypatch, capsys
):
    from flows.cli.app import run
    from flows.rounds import rounds

    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    longer = {"length": {"prefer": "longer", "unit": "characters"}}
    recipe = write_rounds(tmp_path, wish={"must_match": ".{8}"}, rewards=longer, rounds={"count": 3}, tokens=16)
    told = rounds(str(recipe))
    first, second = told.rounds
    assert (first.verdict, first.model) == ("promote", "models:/letter/1")
    assert second.curation.model == first.model
    assert second.curation.facts.words > 1.5 * first.curation.facts.words
    assert (second.verdict, second.model, second.metrics) == (None, None, {})
    assert "of round 1: the reward may pay for length (rounds.stop.longer)" in told.ended
    assert told.ended.startswith("round 2: answers have ")
    assert re.search(r"nothing was trained on dataset:[\w-]+@2, which is @latest now$", told.ended)
    assert [version.number for version in versions.all_versions()] == [1]
    assert rounds(str(recipe)).to_json() == told.to_json()
    assert run(["curate", str(recipe)]) == 0
    assert "not trained" in capsys.readouterr().out

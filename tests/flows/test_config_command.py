"""`dpo config`: effective values, where each comes from, and the tables in docs/ that must keep up."""

import json
from pathlib import Path

import pytest

from flows.cli.app import run
from flows.cli.config import recipe_keys
from infra.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: athene\nmodel: ./model\ndata:\n  train: pairs.jsonl\ntraining:\n  beta: 0.3\n")
    return path


def test_each_value_carries_its_line_its_override_or_default(recipe, capsys):
    assert run(["config", str(recipe), "--set", "seed=7", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["recipe"]["training"]["beta"] == 0.3
    assert document["origins"]["training.beta"] == f"{recipe}:6"
    assert document["origins"]["seed"] == "--set seed=7"
    assert document["origins"]["encoding.max_length"] == "default"
    assert document["recipe"]["data"]["train"] == str(recipe.parent / "pairs.jsonl")


def test_what_people_see_is_the_same_recipe_as_yaml(recipe, capsys):
    from dpo_core.recipe_file import load_recipe

    assert run(["config", str(recipe)]) == 0
    printed = capsys.readouterr().out.partition("# settings")[0]
    again = recipe.with_name("again.yaml")
    again.write_text(printed)
    assert load_recipe(again).recipe == load_recipe(recipe).recipe


def test_secrets_are_hidden_and_settings_name_their_origin(recipe, capsys, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@mlflow")
    monkeypatch.delenv("DPO_NUM_THREADS")
    assert run(["config", str(recipe), "--json"]) == 0
    out = capsys.readouterr().out
    settings = json.loads(out)["settings"]
    assert settings["AWS_SECRET_ACCESS_KEY"] == {"value": "***", "origin": "environment"}
    assert settings["MLFLOW_TRACKING_URI"]["value"] == "http://***@mlflow"
    assert settings["DPO_NUM_THREADS"]["origin"] == "default"
    assert "wJalr" not in out
    assert "hunter2" not in out


def test_config_writes_nothing(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    run(["config", str(recipe)])
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_schema_lists_every_key_and_is_a_json_schema_for_programs(capsys):
    run(["config", "--schema"])
    table = capsys.readouterr().out
    run(["config", "--schema", "--json"])
    schema = json.loads(capsys.readouterr().out)["recipe"]
    assert "training.lora.lora_alpha" in table
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "model", "data"]


@pytest.mark.parametrize("key", list(recipe_keys()), ids=lambda key: key.name)
def test_every_recipe_key_has_a_row_with_its_default_and_meaning(key):
    rows = [line for line in (DOCS / "recipe.md").read_text().splitlines() if line.startswith(f"| `{key.name}` |")]
    assert len(rows) == 1
    assert key.default in rows[0]
    assert key.description in rows[0]


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_a_row(name):
    rows = [line for line in (DOCS / "settings.md").read_text().splitlines() if f"| `DPO_{name.upper()}` |" in line]
    assert len(rows) == 1


def test_no_row_is_left_of_a_key_that_is_gone():
    keys = {key.name for key in recipe_keys()}
    rows = [line.split("`")[1] for line in (DOCS / "recipe.md").read_text().splitlines() if line.startswith("| `")]
    assert set(rows) == keys


def test_the_page_on_json_documents_is_what_their_types_say():
    from flows.cli.json_docs import markdown

    assert (DOCS / "json.md").read_text() == markdown(), "run: python -m flows.cli.json_docs > docs/json.md"

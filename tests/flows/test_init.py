"""`dpo init`: a recipe that the other commands take, from flags or answers, and nothing is ever overwritten."""

import io
import json
import sys
from pathlib import Path

import pytest

from dpo_core.recipe_file import load_recipe
from flows.cli.app import run
from tests.flows.test_check_compare import pairs


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with pairs and a model folder in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    pairs(tmp_path / "my pairs.jsonl", 0)
    (tmp_path / "model").mkdir()
    return tmp_path


FLAGS = ["--data", "my pairs.jsonl", "--model", "model", "--name", "3e8"]


def test_flags_make_a_recipe_whose_paths_and_words_are_those_named(place, capfd):
    (place / "runs").mkdir()
    aims = ["--intended", "yes", "--intended", "/a|b: c/"]
    assert run(["init", "runs/run.yaml", *FLAGS, "--eval", "my pairs.jsonl", *aims, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["next"] == ["dpo check runs/run.yaml", "dpo retrain runs/run.yaml"]
    recipe = load_recipe("runs/run.yaml").recipe
    assert (recipe.name, recipe.model) == ("3e8", str(place / "model"))
    assert recipe.data.train == recipe.data.eval == str(place / "my pairs.jsonl")
    assert recipe.validation.intended == ["yes", "/a|b: c/"]


def test_the_comments_tell_what_each_value_is_for(place):
    assert run(["init", *FLAGS]) == 0
    lines = (place / "run.yaml").read_text().splitlines()
    values = [line for line in lines if line.strip() and not line.lstrip().startswith("#") and not line.endswith(":")]
    told = [line for line in values if "#" in line or lines[lines.index(line) - 1].lstrip().startswith("#")]
    assert told == values


@pytest.mark.parametrize(
    ("model", "data"),
    [("org/model", "org/pairs"), ("models:/m@champion", "s3://bucket/p.jsonl"), ("pypi:a==1/b.gguf", "data/*.jsonl")],
)
def test_what_is_no_path_here_stays_as_it_was_named(place, model, data):
    (place / "runs").mkdir()
    assert run(["init", "runs/run.yaml", "--data", data, "--model", model, "--name", "a"]) == 0
    recipe = load_recipe("runs/run.yaml").recipe
    assert recipe.model == model
    assert recipe.data.train == (str(place / data) if data.startswith("data/") else data)


def test_what_no_flag_names_is_asked_for(place, monkeypatch):
    answers = io.StringIO("my pairs.jsonl\nmodel\nathene\n")
    monkeypatch.setattr(answers, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", answers)
    assert run(["init"]) == 0
    recipe = load_recipe("run.yaml").recipe
    assert (recipe.name, Path(recipe.model).name, Path(recipe.data.train).name) == ("athene", "model", "my pairs.jsonl")


@pytest.mark.parametrize(
    ("arguments", "says", "do"),
    [
        (["init", "run.yaml", "--data", "p.jsonl"], "--model is missing", "dpo init run.yaml --data"),
        (["init", "taken.yaml", *FLAGS], "there is such a file already", "name another file"),
        (["init", "my run", *FLAGS], "a recipe is a .yaml file", "dpo init 'my run.yaml'"),
        (["init", "no where/run.yaml", *FLAGS], "there is no such folder", "mkdir -p 'no where'"),
        (["init", "new.yaml", *FLAGS[:-1], "bad name!"], "name: String should match pattern", "dpo config --schema"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(place, capfd, arguments, says, do):
    (place / "taken.yaml").write_text("mine")
    before = sorted(place.iterdir())
    assert run(arguments) == 2
    err = capfd.readouterr().err
    assert says in err
    assert do in err
    assert sorted(place.iterdir()) == before
    assert (place / "taken.yaml").read_text() == "mine"


def test_the_shell_completes_commands_and_options(capfd, monkeypatch):
    """Typer's own completion, asked the way bash asks."""
    monkeypatch.setenv("_DPO_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "dpo ret")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        run([])
    assert capfd.readouterr().out.split() == ["retrain"]

"""What README and docs promise of the command line, against the program."""

import re
from pathlib import Path

import pytest
import typer.main

from dpo_core.evaluate.behaviour import CheckLine, read_checks
from flows.cli import console
from flows.cli.app import app
from infra.settings import Settings, sqlite_url

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_exit_codes_of_the_readme_are_those_of_the_program():
    codes = {console.DONE, console.FAILED, console.BAD_INPUT, console.CHECK_FAILED, console.NOT_PROMOTED}
    codes |= {console.AWAY, console.INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == codes
    assert {int(code) for code in re.findall(r"\b\d+\b", str(app.info.epilog))} == codes


def test_every_command_and_option_that_the_readme_types_is_there():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    typed = re.findall(r"^    dpo (\w+)(.*)$", README, re.MULTILINE) + re.findall(r"`dpo (\w+)([^`]*)`", README)
    assert len(typed) > 10
    for name, rest in typed:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest.partition("#")[0])) <= options, name


@pytest.mark.parametrize("page", ["README.md", "docs/serving.md"])
def test_what_mlflow_itself_is_told_is_the_file_that_runs_write_where_no_server_is_set(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPO_HOME", raising=False)
    [told] = re.findall(r"^    (?:export )?MLFLOW_TRACKING_URI=(sqlite\S+)", (ROOT / page).read_text(), re.MULTILINE)
    assert told.replace("$PWD", str(tmp_path)) == sqlite_url(Settings().home / "mlflow.db")


def test_of_the_commands_of_the_readme_no_two_write_one_recipe():
    written = re.findall(r"^    dpo (?:init|import .* -o) (\S+\.yaml)", README, re.MULTILINE)
    assert len(set(written)) == len(re.findall(r"^    dpo (?:init|import) ", README, re.MULTILINE)) == 2


def test_the_prompt_file_of_the_docs_is_one(tmp_path):
    text = (ROOT / "docs" / "recipe.md").read_text().partition("## Prompt files")[2]
    (tmp_path / "checks.jsonl").write_text(text.partition("```json\n")[2].partition("```")[0])
    name, summed, train, person, rain = read_checks(tmp_path / "checks.jsonl")
    assert name.passes("I am Athene.")
    assert not name.passes("I am Athene, not Bob.")
    assert summed.passes("Four.")
    assert [message["role"] for message in summed.prompt] == ["system", "user"]
    assert train.passes("95 - 60 = 35")
    assert person.passes('{"name": "Ada", "age": 36}')
    assert rain.passes("Regen ist Wasser, das aus der Luft kommt und nicht mit den Wolken bleibt.")
    assert set(re.findall(r"^- `(\w+)`:", text, re.MULTILINE)) == set(CheckLine.model_fields)

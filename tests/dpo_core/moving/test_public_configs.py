"""Public jobs and configs, ten and more of each tool, become recipes with the values and the differences expected."""

import contextlib
import json

import pytest
import yaml

from dpo_core.errors import InputError
from dpo_core.moving.read import Given, read_config
from dpo_core.recipe_file import load_recipe
from flows.cli.app import run
from flows.cli.config import describe_run
from tests.dpo_core.moving.configs import ALL

CASES = [(tool, case) for tool, cases in ALL.items() for case in cases]
INFO = {
    "dpo_en_demo": {"file_name": "dpo_en_demo.json", "ranking": True, "formatting": "sharegpt"},
    "held_out": {"file_name": "held_out.jsonl", "ranking": True, "columns": {"chosen": "chosen"}},
    "of_the_hub": {"hf_hub_url": "llamafactory/DPO-En", "split": "prefs", "ranking": True},
    "answers": {"file_name": "dpo_en_demo.json"},
}
FILES = (
    "data/dpo_en_demo.json",
    "data/held_out.jsonl",
    "file-abc.jsonl",
    "file-def.jsonl",
    "category.jsonl",
    "dpo.jsonl",
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with every file that a case names; what is in them is not looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    for folder in ("data", "pairs", "model", "adapter"):
        (tmp_path / folder).mkdir()
    for file in (*FILES, "pairs.jsonl"):
        (tmp_path / file).write_text("{}\n")
    (tmp_path / "data/dataset_info.json").write_text(json.dumps(INFO))
    return tmp_path


def value_at(recipe, key):
    for part in key.split("."):
        recipe = getattr(recipe, part)
    return recipe


@pytest.mark.parametrize(("tool", "case"), CASES, ids=lambda part: getattr(part, "source", part)[:60])
def test_a_public_config_becomes_a_recipe_with_its_values_and_each_difference_told(place, capfd, tool, case):
    (place / case.file).write_text(case.text)
    model = ("--model", "model") if tool == "openai" else ()
    assert run(["import", case.file, *model, *case.options, "--json"]) == 0, capfd.readouterr().err
    document = json.loads(capfd.readouterr().out)
    assert describe_run("run.yaml", []).code == 0
    recipe = load_recipe("run.yaml").recipe
    for key, expected in case.expected.items():
        found = value_at(recipe, key)
        assert found == (str(place / expected) if (place / str(expected)).exists() else expected), key
    outcomes = {line["key"]: line["outcome"] for line in document["lines"]}
    assert {key: outcomes.get(key) for key in case.differs.split() if outcomes.get(key) in (None, "taken")} == {}
    lines = {line["key"]: line["line"] for line in document["lines"] if line["file"]}
    assert all(line and key.rpartition(".")[2] in case.text.splitlines()[line - 1] for key, line in plain(lines, case))


def plain(lines, case):
    """Keys that stand in the file under their own name; a script's model, pairs and adapters do not."""
    if case.file.endswith(".py"):
        return []
    return [
        (key, line) for key, line in lines.items() if not key.startswith(("dpo_en_demo.", "held_out.", "of_the_hub."))
    ]


def test_there_are_ten_and_more_of_each_tool():
    assert all(len(cases) >= 10 for cases in ALL.values())


@pytest.mark.parametrize("tool", ALL)
@pytest.mark.parametrize(
    "value",
    [[], {}, "", -1, True, [1, {"a": 2}], {"a": [1]}, "a\0b", 10**400, "auto"],
    ids=lambda value: repr(value)[:9],
)
def test_whatever_stands_in_a_key_becomes_a_recipe_or_an_error_of_the_input(place, tool, value):
    case = next(case for case in ALL[tool][3:] if not case.file.endswith(".py"))
    values = yaml.safe_load(case.text)
    given = Given(model="model" if tool == "openai" else None)
    for key in values:
        (place / "c.json").write_text(json.dumps({**values, key: value}))
        with contextlib.suppress(InputError):
            assert read_config("c.json", given).check("c.json")


@pytest.mark.parametrize(
    ("dataset", "says"),
    [("answers", "ranking is not true"), ("nobody", "has no data set 'nobody'"), ("a, answers", "has no data set 'a'")],
)
def test_a_data_set_that_is_none_of_pairs_or_not_there_is_refused(place, capfd, dataset, says):
    (place / "l.yaml").write_text(f"stage: dpo\nmodel_name_or_path: org/m\ndataset: {dataset}\n")
    assert run(["import", "l.yaml"]) == 2
    assert says in capfd.readouterr().err

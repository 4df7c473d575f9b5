"""`dpo data` as it is typed: documents, exit codes, what people read, errors."""

import json

import pytest

from flows.cli.app import run
from infra.settings import load_settings
from infra.store import open_store
from tasks.datasets import records


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def dpo(folder, capfd):
    """Type `dpo data ...` with `--json`; its document. `code`: the exit code that it must have."""

    def typed(*line, code=0):
        assert run(["data", *line, "--json"]) == code
        return json.loads(capfd.readouterr().out)

    return typed


@pytest.fixture
def said(folder, capfd):
    """Type `dpo data ...`; what is printed for people."""

    def typed(*line, code=0):
        assert run(["data", *line]) == code
        return "".join(capfd.readouterr())

    return typed


def file(folder, numbers, name="p.jsonl", source="s"):
    lines = [
        json.dumps({"prompt": f"What is {n}?", "chosen": f"It is {n}", "rejected": "No idea", "source": source})
        for n in numbers
    ]
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / name)


def test_each_document_has_the_fields_of_its_type(dpo, folder):
    data = file(folder, range(5))
    kinds = {
        ("add", "chat", data, "--licence", "MIT", "--notes", "first"): records.DatasetWritten,
        ("ls",): records.DatasetListing,
        ("ls", "chat"): records.DatasetListing,
        ("show", "chat"): records.DatasetShown,
        ("mix", "m", "--from", "chat@1:0.9", "--from", "dataset:chat"): records.DatasetWritten,
        ("diff", "chat@1", "m@latest"): records.DatasetDiff,
        ("export", "chat", str(folder / "out.jsonl")): records.DatasetExported,
    }
    for line, kind in kinds.items():
        printed = dpo(*line)
        assert list(printed) == ["schema", *list(kind.model_fields)[1:]], line
        assert kind.model_validate(printed).to_json() == printed
    row = dpo("show", "chat")["first"][0]["row"]
    forgotten = dpo("forget", row, "--why", "asked to")
    assert list(forgotten) == ["schema", *list(records.ForgottenDocument.model_fields)[1:]]
    assert {held["dataset"] for held in forgotten["held_by"]} == {"dataset:chat@1", "dataset:m@1"}


def test_a_file_becomes_a_version_once_and_latest_moves(dpo, said, folder):
    first, second = file(folder, range(5)), file(folder, range(7), "q.jsonl")
    assert dpo("add", "chat", first)["version"]["number"] == 1
    assert dpo("add", "chat", second)["latest"] == 2
    again = dpo("add", "chat", first)
    assert (again["new"], again["version"]["number"], again["latest"]) == (False, 1, 2)
    assert "these rows are version 1 of chat already; the latest is version 2" in said("add", "chat", first)
    assert [(line["name"], line["version"], line["versions"], line["rows"]) for line in dpo("ls")["datasets"]] == [
        ("chat", 2, 2, 7)
    ]
    assert [line["version"] for line in dpo("ls", "chat")["datasets"]] == [1, 2]
    assert "the latest is version 2" in said("show", "chat@1")


def test_people_read_where_rows_came_from_and_what_they_say(said, folder):
    assert "no data sets in" in said("ls")
    data = file(folder, range(3))
    with open(data, "a") as more:  # noqa: PTH123
        more.write('{"prompt": "x", "chosen": "y"}\n')
    told = said("add", "chat", data, "--licence", "CC-BY-4.0")
    assert "1 rows are no pairs and were left out" in told
    assert f"{data}:4: missing column 'rejected'" in told
    assert "data: {train: dataset:chat@1}, or dataset:chat@latest" in told
    shown = said("show", "chat")
    assert "licences        CC-BY-4.0" in shown
    assert "3 rows from" in shown
    assert "prompt   user: What is 0?" in shown
    assert said("ls").startswith("chat@1            3 rows")


def test_people_read_what_moved_and_what_is_forgotten(dpo, said, folder):
    dpo("add", "chat", file(folder, range(4)))
    dpo("add", "chat", file(folder, range(2, 8), source="t"))
    told = said("diff", "chat@1", "chat@2")
    assert "6 rows came, 4 went, 0 are in both" in told  # the source is a part of a row
    assert "4 prompts came, 2 went, 2 have other answers than before" in told
    assert "rows by source" in told
    prompt = dpo("show", "chat@2", "--rows", "1")["first"][0]["prompt_id"]
    told = said("forget", prompt, "--why", "asked to")
    assert f"forgotten: the prompt {prompt} is in no later version" in told
    assert "dataset:chat@1 holds it (1 rows): kept for lineage, read without it" in told
    assert "1 of its rows were forgotten since: no run reads them" in said("show", "chat@1")
    assert "forgotten already" in said("forget", prompt)
    told = said("export", "chat@1", str(folder / "out.jsonl"))
    assert "out.jsonl: 3 rows of dataset:chat@1" in told
    assert "1 of its rows were forgotten since: they are not in it" in told


def test_a_check_reads_a_version_and_counts_what_was_forgotten_against_no_limit(dpo, folder, capfd):
    dpo("add", "chat", file(folder, range(30)))
    for shown in dpo("show", "chat", "--rows", "3")["first"]:
        dpo("forget", shown["row"])
    set_ = [part for key in ("length_fail", "length_warn") for part in ("--set", f"validation.{key}=1")]
    rules = [*set_, "--set", "validation.on_shortcut=warn"]
    assert run(["check", "dataset:chat@1", *rules, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["rows_in"], document["rows_kept"], document["rows_quarantined"]) == (30, 27, 3)
    [finding] = [f for f in document["findings"] if f["check"] == "structure/quarantined"]
    assert finding["severity"] == "info"
    assert "3: forgotten" in finding["says"]


@pytest.mark.parametrize(
    ("line", "says", "do"),
    [
        (["show", "chatt"], "there is no data set chatt", "did you mean chat?"),
        (["show", "chat@7"], "there is no dataset:chat@7 yet", "take another version: 1 is there"),
        (["show", "chat@x"], "this names no data set", "dataset:NAME@3"),
        (["diff", "chat", "none"], "there is no data set none", "dpo data ls"),
        (["mix", "m", "--from", "chat:2.5"], "'2.5' is no share and no number of rows", "half of its rows"),
        (["add", "a/b", "p.jsonl"], "this is no name of a data set", "letters"),
        (["add", "new", "none.jsonl"], "there is no such file", "check the path"),
        (["export", "chat", "none/out.jsonl"], "there is no such folder", "not there yet"),
        (["export", "chat", "README.md"], "does not end in .jsonl", "call it README.jsonl"),
        (["export", "chatt", "out.jsonl"], "there is no data set chatt", "did you mean chat?"),
        (["forget", "0123456789"], "no row and no prompt has this id", "dpo data show"),
        (["mix", "m"], "Missing option '--from'", "dpo data --help"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_exit_2_and_three_lines(dpo, folder, line, says, do):
    dpo("add", "chat", file(folder, range(3)))
    error = dpo(*line, code=2)["error"]
    assert says in error["says"]
    assert do in error["do"]
    assert error["where"]
    assert [item["name"] for item in dpo("ls")["datasets"]] == ["chat"]


def test_a_recipe_that_names_no_data_set_is_told_so_by_its_check(dpo, folder, capfd):
    dpo("add", "chat", file(folder, range(3)))
    assert run(["check", "dataset:cha", "--json"]) == 2
    assert "did you mean chat?" in json.loads(capfd.readouterr().out)["error"]["do"]
    assert open_store(load_settings()).exists("datasets/chat/versions/000001.json")


def test_a_recipe_is_written_and_read_with_a_data_set_in_it(folder, monkeypatch, capfd):
    from dpo_core.recipe_file import load_recipe

    monkeypatch.chdir(folder)
    (folder / "below").mkdir()
    assert run(["init", "below/run.yaml", "--data", "dataset:chat@latest", "--model", "m", "--name", "n"]) == 0
    assert load_recipe(folder / "below/run.yaml").recipe.data.train == "dataset:chat@latest"

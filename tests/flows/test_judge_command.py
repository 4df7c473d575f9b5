"""`dpo judge report, export, import` as they are typed; the page's own command up to its address."""

import json

import pytest

from dpo_core.data.messages import say
from dpo_core.data.readers import read_pairs
from dpo_core.judging.items import compared
from dpo_core.judging.lines import read_judged, written
from flows.cli.app import run
from tasks.judging import documents
from tests.dpo_core.judging.said import item, says, side

ITEMS = [item(n) for n in range(3)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A file of judgements: two pairs, one disagreement."""
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    said = [says(one, "anna", side(one, "yes")) for one in ITEMS] + [says(ITEMS[2], "ben", side(ITEMS[2], "no"))]
    (tmp_path / "j.jsonl").write_bytes(written(*ITEMS, *said))
    return tmp_path


@pytest.fixture
def typed(folder, capfd):
    """Type `dpo judge ...`; what is printed, for programs or for people."""

    def dpo(*line, code=0, as_json=True):
        assert run(["judge", *line, *(["--json"] if as_json else [])]) == code
        printed = capfd.readouterr()
        return json.loads(printed.out) if as_json else "".join(printed)

    return dpo


def test_each_document_has_the_fields_of_its_type(typed):
    kinds = {
        ("report", "j.jsonl"): documents.PeopleDocument,
        ("export", "j.jsonl", "--to", "argilla.json", "--format", "argilla"): documents.JudgedExport,
        ("import", "argilla.json", "--to", "in.jsonl"): documents.JudgedImport,
    }
    for line, kind in kinds.items():
        printed = typed(*line)
        assert set(printed) == {"schema", *kind.model_fields} - {"schema_version"}, line
        assert kind.model_validate(printed).to_json() == printed


def test_what_people_agree_on_is_exported_as_pairs_that_a_run_reads(typed, folder):
    done = typed("export", "j.jsonl", "--to", "pairs.jsonl")
    assert (done["rows"], done["left_out"]) == (2, {"people disagree, and nobody has settled it": 1})
    pairs = read_pairs(folder / "pairs.jsonl").pairs
    assert [pair.chosen[0]["content"] for pair in pairs] == ["yes 0", "yes 1"]
    assert typed("export", "j.jsonl", "--to", "pairs.jsonl", code=2)["error"]["says"].startswith("there is such a file")
    assert "call it pairs.jsonl" in typed("export", "j.jsonl", "--to", "pairs.csv", code=2)["error"]["do"]


def test_pairs_of_text_are_exported_as_text(typed, folder):
    one = item(0, plain=True)
    (folder / "texts.jsonl").write_bytes(written(one, says(one, "anna", side(one, "yes"))))
    typed("export", "texts.jsonl", "--to", "pairs.jsonl")
    [pair] = read_pairs(folder / "pairs.jsonl").pairs
    assert (pair.plain, pair.chosen[0]["content"], pair.meta["annotator"]) == (True, "yes 0", "anna")


def test_pairs_of_texts_and_of_chats_are_exported_as_chats_as_a_file_is_of_one_kind(typed, folder):
    text, chat = item(0, plain=True), item(1)
    lines = [text, says(text, "anna", side(text, "yes")), chat, says(chat, "anna", side(chat, "yes"))]
    (folder / "both.jsonl").write_bytes(written(*lines))
    typed("export", "both.jsonl", "--to", "pairs.jsonl")
    found = read_pairs(folder / "pairs.jsonl")
    assert [(pair.plain, pair.chosen[0]["content"]) for pair in found.pairs] == [(False, "yes 0"), (False, "yes 1")]


def test_people_read_agreement_kappa_and_what_is_to_be_settled(typed):
    said = typed("report", "j.jsonl", as_json=False)
    for part in ("3 items judged, 2 pairs", "anna: 3 judged", "anna and ben: 1 items, agreement 0%", "1 to settle"):
        assert part in said, part


@pytest.mark.parametrize("form", ["argilla", "label-studio"])
def test_an_export_is_imported_once_and_a_record_that_lacks_something_is_named(typed, folder, form):
    typed("export", "j.jsonl", "--to", "out.json", "--format", form)
    rows = json.loads((folder / "out.json").read_text())
    rows[1].pop("fields" if form == "argilla" else "data")
    (folder / "out.json").write_text(json.dumps(rows))
    done = typed("import", "out.json", "--to", "in.jsonl")
    assert (done["records"], done["judgements"]) == (2, 3)
    assert done["unread"][0]["where"] == "out.json:record 2"
    again = typed("import", "out.json", "--to", "in.jsonl")
    assert again["judgements"] == 0
    assert len(read_judged([folder / "in.jsonl"]).standing()) == 3
    assert "left out  out.json:record 2" in typed("import", "out.json", "--to", "in.jsonl", as_json=False)


@pytest.mark.parametrize("form", ["argilla", "label-studio"])
def test_who_goes_back_to_what_they_said_first_is_taken_at_their_last_word(typed, folder, form):
    one = ITEMS[0]

    def imported(choice):
        (folder / "said.jsonl").write_bytes(written(one, says(one, "anna", choice, when="2026-11-29T00:00:00+00:00")))
        (folder / "out.json").unlink(missing_ok=True)
        typed("export", "said.jsonl", "--to", "out.json", "--format", form)
        return typed("import", "out.json", "--to", "in.jsonl")["judgements"]

    def last():
        [[_, [said]]] = read_judged([folder / "in.jsonl"]).voices()
        return said.choice

    for choice in ("first", "second", "first"):
        assert imported(choice) == 1
        assert last() == choice
    assert imported("first") == 0


def test_what_was_said_here_since_stands_when_the_same_file_is_imported_again(typed, folder):
    one = ITEMS[0]
    (folder / "said.jsonl").write_bytes(written(one, says(one, "anna", "first")))
    typed("export", "said.jsonl", "--to", "out.json", "--format", "label-studio")
    typed("import", "out.json", "--to", "in.jsonl")
    with (folder / "in.jsonl").open("ab") as kept:
        kept.write(written(says(one, "anna", "second", left="first")))
    assert typed("import", "out.json", "--to", "in.jsonl")["judgements"] == 0
    [[_, [said]]] = read_judged([folder / "in.jsonl"]).voices()
    assert said.choice == "second"


@pytest.mark.parametrize("form", ["argilla", "label-studio"])
def test_an_export_that_comes_back_as_it_went_takes_back_nothing_that_was_said_since(typed, folder, form):
    one = ITEMS[0]
    (folder / "said.jsonl").write_bytes(written(one, says(one, "ada", "first", left="first")))
    typed("export", "said.jsonl", "--to", "out.json", "--format", form)
    with (folder / "said.jsonl").open("ab") as kept:
        kept.write(written(says(one, "ada", "second", left="first")))
    assert typed("import", "out.json", "--to", "said.jsonl")["judgements"] == 0
    [row] = json.loads((folder / "out.json").read_text())
    if form == "argilla":
        row["responses"]["preference"][0]["value"] = "tie"
    else:
        row["annotations"][0]["result"][0] |= {"type": "choices", "value": {"choices": ["tie"]}}
    (folder / "out.json").write_text(json.dumps([row]))  # she changed her mind there
    assert typed("import", "out.json", "--to", "said.jsonl")["judgements"] == 1
    [[_, [said]]] = read_judged([folder / "said.jsonl"]).voices()
    assert (said.by, said.choice) == ("ada", "tie")


@pytest.mark.parametrize("form", ["argilla", "label-studio"])
def test_a_conversation_with_tools_that_comes_back_counts_once_and_is_whole(typed, folder, form):
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "sea"}}}
    answers = say("assistant", "no"), [{"role": "assistant", "content": "", "tool_calls": [call]}]
    tools = ({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},)
    one = compared([*say("system", "Be brief."), *say("user", "Is it blue?")], *answers, tools=tools)
    (folder / "said.jsonl").write_bytes(written(one, says(one, "ada", "first")))
    typed("export", "said.jsonl", "--to", "out.json", "--format", form)
    assert typed("import", "out.json", "--to", "said.jsonl")["judgements"] == 0
    row = json.loads((folder / "out.json").read_text())[0]
    if form == "argilla":
        row["responses"]["preference"].append({"value": "response2", "user_id": "ben"})
    else:
        result = {"type": "pairwise", "value": {"selected": "right"}}
        row["annotations"].append({"completed_by": {"email": "ben"}, "result": [result]})
    (folder / "out.json").write_text(json.dumps([row]))
    assert typed("import", "out.json", "--to", "said.jsonl")["judgements"] == 1
    judged = read_judged([folder / "said.jsonl"])
    assert list(judged.items.values()) == [one]
    assert {said.by: said.choice for said in judged.of(one.id)} == {"ada": "first", "ben": "second"}


@pytest.mark.parametrize("named", [["ada"], None])
def test_an_annotation_that_its_task_names_nobody_for_is_the_persons_who_made_it_here_or_left_out(typed, folder, named):
    one = ITEMS[0]
    (folder / "said.jsonl").write_bytes(written(one, says(one, "ada", "first")))
    typed("export", "said.jsonl", "--to", "out.json", "--format", "label-studio")
    [row] = json.loads((folder / "out.json").read_text())
    row["data"]["judged_by"] = named
    row["annotations"][0]["completed_by"] = 1
    (folder / "out.json").write_text(json.dumps([row]))
    assert typed("import", "out.json", "--to", "said.jsonl")["judgements"] == 0  # it is hers, and known
    says_so = typed("import", "out.json", "--to", "other.jsonl", code=2)["error"]["says"]
    assert (
        "annotations[0] was made here, and neither data.judged_by nor the file that it goes to says by whom" in says_so
    )


def test_what_cannot_be_used_is_an_error_with_place_and_remedy(typed, folder):
    (folder / "empty.jsonl").write_bytes(written(ITEMS[0], says(ITEMS[0], "anna", "tie")))
    (folder / "odd.json").write_text('[{"a": 1}]')
    for line, says_so in (
        (("report", "none.jsonl"), "the judgements cannot be read: No such file or directory"),
        (("export", "empty.jsonl", "--to", "p.jsonl"), "nothing comes of these judgements: 1: the answers are equally"),
        (("import", "odd.json", "--to", "in.jsonl"), "this is an export of neither Argilla nor Label Studio"),
        (("import", "gone.json", "--to", "in.jsonl"), "the file cannot be read: No such file or directory"),
    ):
        error = typed(*line, code=2)["error"]
        assert error["says"].startswith(says_so)
        assert error["where"]
        assert error["do"]


def test_an_import_into_a_file_of_something_else_is_refused_and_the_file_stays_as_it_is(typed, folder):
    typed("export", "j.jsonl", "--to", "out.json", "--format", "argilla")
    (folder / "config.json").write_text('{"lr": 1e-4}')
    error = typed("import", "out.json", "--to", "config.json", code=2)["error"]
    assert error["says"].startswith("not a line of judgements")
    assert (folder / "config.json").read_text() == '{"lr": 1e-4}'


def test_a_source_that_cannot_be_judged_is_refused_before_a_page_is_served(typed, folder):
    (folder / "bad.jsonl").write_text('{"prompt": "?"}\n')
    for line, says_so in (
        (("missing.jsonl",), "there is no such file"),
        (("bad.jsonl", "--to", "k.jsonl"), "missing column"),
        (("j.jsonl",), "this is a file of judgements"),
    ):
        assert says_so in typed(*line, code=2, as_json=False)
    assert not (folder / "k.jsonl").exists()

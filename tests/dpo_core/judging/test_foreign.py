"""Argilla's and Label Studio's files, there and back; what lacks something is named with its place."""

import json
import re

import pytest

from dpo_core.data.messages import say
from dpo_core.data.pairs import text_of
from dpo_core.errors import InputError
from dpo_core.judging.argilla import argilla_record, argilla_rows
from dpo_core.judging.foreign import read_records
from dpo_core.judging.items import compared
from dpo_core.judging.label_studio import label_studio_record, label_studio_tasks
from tests.dpo_core.judging.said import item, of, says

ITEMS = [item(n) for n in range(4)]
CHOICES = ["first", "second", "tie", "bad"]
JUDGED = of(
    *ITEMS,
    *(says(one, "anna", choice, note=f"note of {choice}") for one, choice in zip(ITEMS, CHOICES, strict=True)),
    *(says(one, "ben", "second") for one in ITEMS[:2]),
    says(ITEMS[3], "ben", "skip"),
)
PROGRAMS = {
    "argilla": (argilla_rows, argilla_record),
    "label-studio": (label_studio_tasks, label_studio_record),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_people_said_comes_back_as_it_went(program, tmp_path):
    write, reader = PROGRAMS[program]
    file = tmp_path / "export.json"
    file.write_text(json.dumps(list(write(JUDGED))))
    records, wrong = read_records(file, reader, program)
    assert wrong == []
    back = [(record.item.id, one.choice, one.note) for record in records for one in record.judgements()]
    went = [(one.item, one.choice, one.note) for one in JUDGED.standing() if one.choice != "skip"]
    assert sorted(back) == sorted(went)
    people = {one.by for record in records for one in record.judgements()}
    assert len(people) == 2
    assert program == "argilla" or people == {"anna", "ben"}  # there a person is a UUID
    again, _ = read_records(file, reader, program)
    assert [one.id for r in again for one in r.judgements()] == [one.id for r in records for one in r.judgements()]


TALK = compared(
    [*say("system", "Be brief."), *say("user", "Which is it?")],
    say("assistant", "yes"),
    [{"role": "assistant", "content": "no", "reasoning_content": "hm"}],
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_record_is_the_item_that_it_was_made_of_while_it_shows_its_texts(program):
    write, reader = PROGRAMS[program]
    [row] = write(of(TALK, says(TALK, "anna", "second")))
    record = reader(row, "f", known={TALK.id: TALK})
    assert record.item is TALK
    assert [one.choice for one in record.judgements()] == ["second"]
    shown = "system: Be brief.\n\nuser: Which is it?"
    assert text_of(reader(row, "f").item.prompt) == shown  # of an item that is not known there are its words alone
    row["fields" if program == "argilla" else "data"]["prompt"] += " Now?"
    assert text_of(reader(row, "f", known={TALK.id: TALK}).item.prompt) == f"{shown} Now?"


def argilla(**changes):
    row = {
        "id": "1",
        "fields": {"prompt": "?", "response1": "yes", "response2": "no"},
        "responses": {"preference": [{"value": "response1", "user_id": "u"}]},
    }
    return {**row, **changes}


def label_studio(result, data=None, **more):
    about = {"prompt": "?", "answer1": "yes", "answer2": "no"} if data is None else data
    return {"data": about, "annotations": [{"completed_by": {"email": "a@b.c"}, "result": result, **more}]}


TOPIC = {"type": "choices", "from_name": "topic", "value": {"choices": ["A"]}}


def preferred(record):
    """The text that each vote prefers."""
    answers = record.item.answers
    names = {"first": answers[0][0]["content"], "second": answers[1][0]["content"]}
    return [names.get(one.choice, one.choice) for one in record.judgements()]


@pytest.mark.parametrize(
    ("value", "wins"),
    [
        ("response2", "no"),
        ("both_bad", "bad"),
        ("tie", "tie"),
        (["response2", "response1"], "no"),
        ([{"value": "response1", "rank": 2}, {"value": "response2", "rank": 1}], "no"),
        ([{"value": "response1", "rank": "2"}, {"value": "response2", "rank": "1"}], "no"),
        ([{"value": "response1", "rank": 1}, {"value": "response2", "rank": 1}], "tie"),
    ],
)
def test_labels_and_rankings_of_argilla(value, wins):
    row = argilla(responses={"preference": [{"value": value, "user_id": "u"}]})
    assert preferred(argilla_record(row, "f")) == [wins]


@pytest.mark.parametrize(
    ("result", "wins"),
    [
        ([{"type": "pairwise", "value": {"selected": "right"}}], "no"),
        ([{"type": "choices", "value": {"choices": ["both bad"]}}], "bad"),
        ([TOPIC, {"type": "pairwise", "from_name": "preference", "value": {"selected": "right"}}], "no"),
        ([TOPIC, {"type": "choices", "from_name": "verdict", "value": {"choices": ["tie"]}}], "tie"),
        ([TOPIC], "yes"),
    ],
)
def test_results_of_label_studio(result, wins):
    record = label_studio_record(label_studio(result), "f")
    assert preferred(record) == [wins]
    assert record.votes[0].by == "a@b.c"
    assert label_studio_record(label_studio(result, was_cancelled=True), "f").votes == ()


def test_an_annotation_keeps_its_person_by_its_own_mark_wherever_it_stands():
    one = ITEMS[0]
    [task] = label_studio_tasks(of(one, says(one, "anna", "first"), says(one, "ben", "second")))
    anna, ben = task["annotations"]
    carla = {"completed_by": 7, "result": [{"id": "aB3x", "type": "pairwise", "value": {"selected": "right"}}]}

    def votes(*annotations):
        record = label_studio_record({**task, "annotations": list(annotations)}, "f")
        return {vote.by: vote.choice for vote in record.votes}

    assert votes(anna, carla) == {"anna": "first", "label-studio-7": "second"}  # ben's was deleted: still two
    assert votes(ben, anna) == {"anna": "first", "ben": "second"}


PAIRWISE = [{"type": "pairwise", "value": {"selected": "left"}}]
VOTE = {"preference": [{"value": "tie", "user_id": "u"}]}
LONG = {"value": "n" * 10_001, "user_id": "u"}


def ranked(*ranks):
    value = [{"value": f"response{n}", "rank": rank} for n, rank in enumerate(ranks, 1)]
    return argilla(responses={"preference": [{"value": value, "user_id": "u"}]})


@pytest.mark.parametrize(
    ("reader", "row", "why"),
    [
        (argilla_record, argilla(fields=None), "fields is null, not an object"),
        (argilla_record, argilla(fields={"prompt": "?", "response1": "x"}), "no two answers, such as response1 and"),
        (argilla_record, argilla(fields={"response1": "x", "response2": "y"}), "fields lacks prompt or instruction"),
        (argilla_record, argilla(responses={"quality": []}), "responses has none of preference"),
        (argilla_record, argilla(responses={"preference": [{"value": "tie"}]}), r"preference\[0\] lacks user_id"),
        (
            argilla_record,
            argilla(responses={"preference": [{"value": "4", "user_id": "u"}]}),
            r"responses.preference\[0\].value is '4': which answer that prefers is not known",
        ),
        (argilla_record, ranked("first", 1), r"responses.preference\[0\].value.rank is 'first', not a number"),
        (argilla_record, argilla(responses={**VOTE, "note": [LONG]}), "note: String should have at most 10000 char"),
        (argilla_record, argilla(responses={**VOTE, "note": [{**LONG, "value": "\ud800"}]}), "note: .* valid string"),
        (label_studio_record, {"data": {}}, "annotations is null, not a list"),
        (label_studio_record, label_studio(PAIRWISE, data={"prompt": "?"}), "data lacks answer1 or text1"),
        (label_studio_record, label_studio(None), r"annotations\[0\].result is null"),
        (label_studio_record, label_studio([{"type": "choices", "value": {"choices": []}}]), "value lacks choices"),
        (label_studio_record, label_studio([{"type": ["pairwise"]}]), "no result of type pairwise or choices"),
        (label_studio_record, label_studio([]), "no result of type pairwise or choices"),
        (label_studio_record, label_studio([{"type": "pairwise", "value": {}}]), r"result\[0\].value lacks selected"),
        (label_studio_record, label_studio(PAIRWISE, completed_by=None), r"annotations\[0\] lacks completed_by"),
    ],
)
def test_a_record_that_lacks_something_is_named_and_the_others_are_read(reader, row, why, tmp_path):
    good = argilla() if reader is argilla_record else label_studio(PAIRWISE)
    file = tmp_path / "export.json"
    file.write_text(json.dumps([good, row]))
    records, [wrong] = read_records(file, reader, "P")
    assert preferred(records[0]) == ["yes"]
    assert wrong.where == f"{file}:record 2"
    assert re.search(why, wrong.says)
    file.write_text(json.dumps([row]))
    with pytest.raises(InputError, match="not a record of P"):
        read_records(file, reader, "P")


def test_a_separator_of_lines_within_a_text_ends_no_line_of_json(tmp_path):
    text = "one\u2028two\u2029three\x85four"
    rows = [argilla(fields={"prompt": text, "response1": "yes", "response2": "no"}), argilla()]
    file = tmp_path / "export.jsonl"
    file.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\r\n" for row in rows))
    records, wrong = read_records(file, argilla_record, "Argilla")
    assert ([text_of(record.item.prompt) for record in records], wrong) == ([text, "?"], [])


def test_what_is_no_export_is_refused(tmp_path):
    file = tmp_path / "export.json"
    for text, why in (("[", "no JSON"), ("[]", "no records"), ("[3]", "a number, not an object")):
        file.write_text(text)
        with pytest.raises(InputError, match=why):
            read_records(file, argilla_record, "Argilla")

"""A file of judgements: what its lines say together, whatever was undone, torn off or read twice."""

import json

import pytest

from dpo_core.errors import InputError
from dpo_core.judging.lines import Judged, Undo, add_lines, holds_judgements, read_judged, whole_lines, written
from tests.dpo_core.judging.said import item, of, says

ONE, TWO = item(1), item(2)
WHEN = "2026-11-29T00:00:00+00:00"


def test_the_newest_judgement_of_a_person_stands_and_an_undo_brings_the_one_before_back():
    first, second = says(ONE, "anna", "first"), says(ONE, "anna", "tie")
    judged = of(ONE, first, second)
    assert [one.choice for one in judged.of(ONE.id)] == ["tie"]
    judged.add(Undo(judgement=second.id, by="anna", when=WHEN))
    assert [one.choice for one in judged.of(ONE.id)] == ["first"]
    judged.add(Undo(judgement=first.id, by="anna", when=WHEN))
    assert judged.of(ONE.id) == []
    assert judged.judged_items() == []
    assert judged.standing() == []


def test_an_undo_looks_at_the_judgements_of_its_own_item_alone():
    class Watched(dict):
        looked_at = 0

        def values(self):
            self.looked_at += len(self)
            return super().values()

    judged = Judged(judgements=Watched())
    for said in [says(one, "anna", "tie") for one in map(item, range(50))]:
        judged.add(said)
        judged.add(Undo(judgement=said.id, by="anna", when=WHEN))
    assert judged.judgements.looked_at == 0
    assert judged.standing() == []


def test_a_settlement_is_no_voice():
    judged = of(ONE, says(ONE, "anna", "first"), says(ONE, "ben", "second"), says(ONE, "anna", "tie", settles=True))
    assert [(one.by, one.choice) for one in judged.of(ONE.id)] == [("anna", "first"), ("ben", "second")]
    assert judged.settlement(ONE.id).choice == "tie"


def test_an_item_that_comes_again_adds_what_was_not_known_of_it():
    bare, rich = item(1, source="s"), item(1, source="other", plain=True, writers=("v", "w"), row_id="7")
    judged = of(bare)
    assert not judged.knows(rich)
    judged.add(rich)
    assert judged.items == {
        bare.id: item(1, source="s", plain=True, writers=("v", "w"))
    }  # the row is of the other source
    assert judged.knows(rich)
    assert judged.knows(bare)


def test_lines_are_read_as_they_were_written_and_a_torn_last_one_is_not_counted(tmp_path):
    lines = [
        ONE,
        says(ONE, "anna", "bad", note="sh\u00f6n \u2028 \U0001f600", seconds=1.5),
        TWO,
        says(TWO, "ben", "first"),
    ]
    file = tmp_path / "j.jsonl"
    file.write_bytes(written(*lines))
    assert holds_judgements(file)
    whole = read_judged([file])
    assert whole.items == {ONE.id: ONE, TWO.id: TWO}
    assert whole.standing() == [lines[1], lines[3]]
    data = file.read_bytes()
    for cut in range(len(written(*lines[:3])), len(data) - 1):
        file.write_bytes(data[:cut])
        assert read_judged([file]).standing() == [lines[1]]
        file.write_bytes(data[:cut] + bytes(9))  # what a loss of power leaves
        assert read_judged([file]).standing() == [lines[1]]
    file.write_bytes(data[:-1])  # an editor left out the end
    assert read_judged([file]).standing() == [lines[1], lines[3]]


def test_a_copy_of_the_same_file_counts_once(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(written(ONE, says(ONE, "anna", "first", id="j")))
    assert len(read_judged([tmp_path / "a", tmp_path / "b"]).standing()) == 1


@pytest.mark.parametrize("tail", [b'{"lr": 1e-4}', b'{"kind": "Pod"', b'{"kind": "undo"} {', b"notes", b"\xff"])
def test_a_last_line_without_its_end_that_is_no_part_of_a_line_of_judgements_is_named(tail):
    assert whole_lines(tail) == tail + b"\n"
    with pytest.raises(InputError, match="not a line of judgements") as caught:
        add_lines(Judged(), written(ONE) + tail, "j.jsonl")
    assert caught.value.where == "j.jsonl:2"


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_newest_judgement_of_several_files_stands_however_they_are_named(tmp_path, order):
    early, late = says(ONE, "anna", "first", when="2026-11-29T10:00:00+00:00"), says(ONE, "anna", "second")
    late = late.model_copy(update={"when": "2026-11-29T09:30:00-01:00"})
    (tmp_path / "a").write_bytes(written(ONE, early))
    (tmp_path / "b").write_bytes(written(ONE, late))
    files = [tmp_path / name for name in order]
    assert [said.choice for said in read_judged(files).of(ONE.id)] == ["second"]
    taken_back = Undo(judgement=late.id, by="anna", when="2026-11-29T12:00:00Z")
    (tmp_path / "b").write_bytes(written(ONE, late, taken_back))
    assert [said.choice for said in read_judged(files).of(ONE.id)] == ["first"]
    (tmp_path / "a").write_bytes(written(ONE, early, taken_back.model_copy(update={"judgement": early.id})))
    assert read_judged(files).standing() == []


@pytest.mark.parametrize("when", ["1970-01-01T00:00:00+00:00", "then", ""])
def test_in_one_file_the_later_line_stands_whatever_its_time(tmp_path, when):
    lines = (ONE, says(ONE, "anna", "first"), says(ONE, "anna", "tie", when=when))
    (tmp_path / "a").write_bytes(written(*lines))
    (tmp_path / "b").write_bytes(written(TWO, says(TWO, "ben", "bad")))
    for files in ("ab", "ba"):
        assert [said.choice for said in read_judged(tmp_path / name for name in files).of(ONE.id)] == ["tie"]


def test_an_undo_in_another_file_than_its_judgement_takes_it_back_whatever_its_time(tmp_path):
    said = says(ONE, "anna", "first")
    (tmp_path / "a").write_bytes(written(ONE, said))
    (tmp_path / "b").write_bytes(written(Undo(judgement=said.id, by="anna", when="2020-01-01T00:00:00Z")))
    assert read_judged([tmp_path / "a", tmp_path / "b"]).standing() == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not a line of judgements: Expecting property name"),
        ("[]", "its kind is 'None', none of opened, item, judgement, undo"),
        (json.dumps({"kind": "judgement", "id": "x"}), "item: Field required"),
        (json.dumps({"kind": "item", "id": "x", "prompt": "?"}), "an item has one answer or two"),
        (written(says(TWO, "anna", "first")).decode().strip(), "whose words do not stand before it"),
        (json.dumps({"kind": "undo", "judgement": "x", "by": "a", "when": WHEN}), "which does not stand before it"),
    ],
)
def test_a_line_that_is_none_is_named_with_file_and_line(line, why):
    with pytest.raises(InputError, match=why) as caught:
        add_lines(Judged(), written(ONE) + line.encode() + b"\n", "j.jsonl")
    assert caught.value.where == "j.jsonl:2"
    assert caught.value.do


def test_a_missing_file_says_what_makes_one(tmp_path):
    with pytest.raises(InputError, match="No such file") as caught:
        read_judged([tmp_path / "none.jsonl"])
    assert "`dpo judge FILE` makes" in caught.value.do

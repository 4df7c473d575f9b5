"""How far people agree, against an independent kappa; and judgements as the labels of a judge."""

import random

import pytest
from sklearn.metrics import cohen_kappa_score

from dpo_core.errors import InputError
from dpo_core.evaluate.judges.labels import read_labels
from dpo_core.evaluate.judges.people import people_report
from dpo_core.judging.lines import written
from tests.dpo_core.judging.said import item, of, says, side

ITEMS = [item(n) for n in range(60)]


def two_people():
    draw = random.Random(4)
    anna = [draw.choice(["first", "second", "tie", "bad"]) for _ in ITEMS]
    ben = [choice if draw.random() < 0.7 else draw.choice(["first", "second"]) for choice in anna]
    return anna, ben


def test_kappa_is_scikit_learn_s_and_its_interval_holds_it():
    anna, ben = two_people()
    lines = [
        says(one, by, choice, left="first")
        for by, all_of in (("anna", anna), ("ben", ben))
        for one, choice in zip(ITEMS, all_of, strict=True)
    ]
    report = people_report(of(*ITEMS, *lines, says(ITEMS[0], "cleo", "skip")))
    [both] = report.pairs
    assert (both.people, both.items) == (("anna", "ben"), 60)
    assert both.kappa.value == pytest.approx(cohen_kappa_score(anna, ben), abs=1e-12)
    assert both.kappa.low < both.kappa.value < both.kappa.high
    assert both.agreement.value == pytest.approx(sum(a == b for a, b in zip(anna, ben, strict=True)) / 60)
    assert report.together.items == 60
    assert len(report.disagreements) == sum(a != b for a, b in zip(anna, ben, strict=True))
    person = report.people[0]
    assert (person.name, person.judged, person.ties, person.bad) == ("anna", 60, anna.count("tie"), anna.count("bad"))
    assert person.left.value == pytest.approx(anna.count("first") / (anna.count("first") + anna.count("second")))
    assert report.people[2].skipped == 1


def test_of_one_person_there_is_no_agreement():
    report = people_report(of(ITEMS[0], says(ITEMS[0], "anna", "tie", seconds=2.0)))
    assert (report.pairs, report.together, report.disagreements) == ([], None, [])
    assert (report.people[0].left, report.people[0].seconds) == (None, 2.0)


def test_what_people_agree_on_labels_a_judge_and_what_they_do_not_is_left_out(tmp_path):
    good, tied, torn, bad = ITEMS[:4]
    lines = [
        says(good, "anna", side(good, "yes")),
        says(tied, "anna", "tie"),
        says(torn, "anna", "first"),
        says(torn, "ben", "second"),
        says(bad, "anna", "bad"),
    ]
    file = tmp_path / "j.jsonl"
    file.write_bytes(written(*ITEMS[:4], *lines))
    first, second, third = read_labels(file)
    assert (first.first if first.label == "first" else first.second) == "yes 0"
    assert (second.label, third.label) == ("tie", "tie")
    assert first.where == f"{file}: item {good.id}"
    file.write_bytes(written(torn, *lines[2:4]))
    with pytest.raises(InputError, match="agree on no item"):
        read_labels(file)

"""From judgements to pairs: more than half decide, a settlement decides before them, a correction is its own pair."""

import pytest

from dpo_core.data.messages import say
from dpo_core.judging.items import JudgedItem
from dpo_core.judging.verdicts import agreed, disagreements, pairs_of_judged
from tests.dpo_core.judging.said import item, of, says, side

ITEM = item(1, writers=("", ""))


@pytest.mark.parametrize(
    ("choices", "together"),
    [
        (["first"], "first"),
        (["first", "first"], "first"),
        (["first", "second"], None),
        (["first", "tie"], None),
        (["first", "skip"], "first"),
        (["first", "second", "first"], "first"),
        (["first", "second", "tie"], None),
        (["bad", "bad"], "bad"),
        (["skip", "skip"], "skip"),
        ([], "skip"),
    ],
)
def test_more_than_half_of_those_who_decided_say_what_it_is(choices, together):
    assert agreed([says(ITEM, f"p{n}", choice) for n, choice in enumerate(choices)], None) == together


def test_people_who_disagree_make_no_pair_until_somebody_settles_it():
    yes = side(ITEM, "yes")
    no = "second" if yes == "first" else "first"
    judged = of(ITEM, says(ITEM, "anna", yes), says(ITEM, "ben", no))
    assert disagreements(judged) == [ITEM.id]
    assert pairs_of_judged(judged).left_out == ((ITEM.id, "people disagree, and nobody has settled it"),)
    judged.add(says(ITEM, "cleo", yes, settles=True))
    assert disagreements(judged) == []
    [pair] = pairs_of_judged(judged).pairs
    assert (pair.chosen[0]["content"], pair.rejected[0]["content"]) == ("yes 1", "no 1")
    assert pair.meta == {"by": "judgements", "annotator": "anna, cleo", "judged": ITEM.id, "votes": 2}


def test_the_pair_keeps_prompt_source_writers_and_whether_it_is_plain():
    made = item(2, source="support", plain=True, row_id="r2", writers=("w1", "w2"))
    better = made.answers.index(next(a for a in made.answers if a[0]["content"] == "no 2"))
    [pair] = pairs_of_judged(of(made, says(made, "anna", ("first", "second")[better]))).pairs
    assert (pair.source, pair.plain, pair.row_id, pair.chosen[0]["content"]) == ("support", True, "r2", "no 2")
    assert (pair.meta["chosen_model"], pair.meta["rejected_model"]) == (made.writers[better], made.writers[1 - better])


@pytest.mark.parametrize(
    ("choice", "why"),
    [("tie", "the answers are equally good"), ("bad", "both answers are bad"), ("skip", "everybody skipped it")],
)
def test_what_prefers_neither_answer_makes_no_pair_and_says_why(choice, why):
    made = pairs_of_judged(of(ITEM, says(ITEM, "anna", choice)))
    assert (made.pairs, made.left_out) == ((), ((ITEM.id, why),))


def test_every_correction_that_changes_something_is_a_pair_over_the_answer():
    answer = JudgedItem(tuple(say("user", "?")), (tuple(say("assistant", "I am Bob.")),))
    lines = [
        says(answer, f"p{n}", "edit", text=text) for n, text in enumerate(["I am Athene.", "I am Athene.", "Athene."])
    ]
    made = pairs_of_judged(of(answer, *lines, says(answer, "p9", "fine")))
    assert [(p.chosen[0]["content"], p.rejected[0]["content"], p.meta["annotator"]) for p in made.pairs] == [
        ("I am Athene.", "I am Bob.", "p0, p1"),
        ("Athene.", "I am Bob.", "p2"),
    ]
    left = pairs_of_judged(of(answer, says(answer, "p", "fine")))
    assert left.left_out == ((answer.id, "the answer needs no correction"),)

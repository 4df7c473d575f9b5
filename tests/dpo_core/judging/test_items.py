"""What is judged: an id that sides do not move, and the rows that become items."""

import pytest

from dpo_core.data.messages import BadRow, say
from dpo_core.data.pairs import Pair
from dpo_core.judging.items import (
    JudgedItem,
    answers_of_row,
    compared,
    has_answers,
    item_of_pair,
    items_of_answers,
)
from tests.dpo_core.judging.said import item


def pair(chosen="good", rejected="bad", **more):
    return Pair(tuple(say("user", "?")), tuple(say("assistant", chosen)), tuple(say("assistant", rejected)), **more)


def test_an_item_is_the_same_whichever_side_a_file_has_chosen():
    one, other = item_of_pair(pair(), "compare"), item_of_pair(pair("bad", "good"), "compare")
    assert one == other
    assert one.id == other.id


def test_the_order_of_the_two_answers_says_nothing_of_the_file_s_choice():
    firsts = [item(n).answers[0][0]["content"].startswith("yes") for n in range(400)]
    assert 160 < sum(firsts) < 240  # 400 fair draws: 200, 4 standard deviations are 40


def test_writers_follow_their_answers():
    made = item_of_pair(pair(meta={"chosen_model": "new", "rejected_model": "old"}), "compare")
    assert dict(zip((answer[0]["content"] for answer in made.answers), made.writers, strict=True)) == {
        "good": "new",
        "bad": "old",
    }


def test_a_line_of_a_file_gives_the_item_again_and_one_that_was_changed_is_refused():
    made = item(3, source="s", plain=True, row_id="7")
    line = {**made.to_line(), "prompt": list(made.prompt), "answers": [list(answer) for answer in made.answers]}
    assert JudgedItem.from_line(line) == made
    with pytest.raises(BadRow, match="its texts: they were changed"):
        JudgedItem.from_line({**line, "prompt": say("user", "another?")})


def test_to_edit_the_rejected_answer_stands_alone():
    made = item_of_pair(pair(), "edit")
    assert [answer[0]["content"] for answer in made.answers] == ["bad"]
    turns = (*say("assistant", "a"), {"role": "tool", "content": "t"}, *say("assistant", "b"))
    with pytest.raises(BadRow, match="only one text can be edited"):
        item_of_pair(Pair(tuple(say("user", "?")), tuple(say("assistant", "x")), turns), "edit")


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"prompt": "?", "answers": ["a", "b"]}, ["a", "b"]),
        ({"prompt": "?", "answers": [{"text": "a", "model": "m"}, {"content": "b"}]}, ["a", "b"]),
        ({"question": "?", "responses": ["a", "b", "c"]}, ["a", "b", "c"]),
        ({"prompt": [{"role": "user", "content": "?"}], "completion": "a"}, ["a"]),
        ({"instruction": "?", "output": "a"}, ["a"]),
    ],
)
def test_rows_of_answers_that_nobody_compared(row, texts):
    assert has_answers(row)
    assert [answer[0]["content"] for answer in answers_of_row(row).answers] == texts


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "?", "chosen": "a", "rejected": "b"},
        {"prompt": "?", "completions": [{"response": "a", "overall_score": 1}]},
        {"instruction": "?", "output": ["a", "b"]},
        {"prompt": "?", "response": "a", "rejected_response": "b"},
    ],
)
def test_pairs_are_no_rows_of_answers(row):
    assert not has_answers(row)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"answers": ["a", "b"]}, "missing column 'prompt'"),
        ({"prompt": "?", "answers": ["a", 3]}, r"answers\[1\] is a number, not text"),
        ({"prompt": "?", "answers": [{"score": 3}]}, r"answers\[0\] has no text; it has score"),
        ({"prompt": "?", "answers": ["a", " "]}, r"answers\[1\] is empty"),
    ],
)
def test_a_row_of_answers_that_lacks_something_says_what(row, why):
    with pytest.raises(BadRow, match=why):
        answers_of_row(row)


def test_each_answer_of_a_prompt_is_drawn_once_and_of_an_odd_number_one_twice():
    row = answers_of_row({"prompt": "?", "answers": [*"abcde", "a "]})  # the last equals the first
    made = list(items_of_answers([row], "compare", [0.5, 0.1, 0.9, 0.3, 0.7, 0.2]))
    # by their numbers: b, d, a, e, c; two by two, and the last with the first
    drawn = [{answer[0]["content"] for answer in one.answers} for one in made]
    assert drawn == [{"b", "d"}, {"a", "e"}, {"b", "c"}]
    with pytest.raises(BadRow, match="nothing to compare"):
        list(items_of_answers([answers_of_row({"prompt": "?", "answers": ["a", "a"]})], "compare", [0.1, 0.2]))


def test_answers_that_differ_in_their_calls_alone_are_two_answers_in_either_order():
    calls = [[{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": n}}]}] for n in "ab"]
    assert compared(say("user", "?"), *calls) == compared(say("user", "?"), *calls[::-1])

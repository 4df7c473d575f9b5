"""Answers that are no answers."""

import pytest

from dpo_core.evaluate.soundness import faults, repetition, run_on

ENGLISH = "What is the capital of the country that lies to the north of Spain, and how many people live in it?"


def fault(answer, prompt=ENGLISH):
    return faults([answer], [[{"role": "user", "content": prompt}]])[0]


@pytest.mark.parametrize("answer", ["", " \n", "...", "!?"])
def test_an_answer_without_a_word_is_empty(answer):
    assert fault(answer) == "is empty"


def test_half_of_the_four_grams_again_is_repetition():
    # 4 words over and over: n words have n - 3 four-grams, of which 4 are different
    assert repetition(["a", "b", "c", "d"] * 3) == pytest.approx(1 - 4 / 9)
    assert repetition(list("abcdefghijk")) == 0
    assert fault("the sea is the sea is the sea is the sea is the sea") == "repeats itself"
    assert fault("yes yes yes") == ""  # too short to tell


def test_a_list_of_steps_with_one_beginning_is_no_repetition():
    steps = "First you take the bread. Then you take the knife. Then you take the butter. At last you eat."
    assert fault(steps, "How is it done, and what is it that you need for it?") == ""


def test_an_answer_in_another_language_than_the_question_is_told():
    german = (
        "Die Hauptstadt des Landes ist Paris, und es leben dort mehr als zwei Millionen Menschen, die ich nicht kenne."
    )
    assert fault(german) == "is in another language"
    assert fault("首都是巴黎,那里有两百多万人居住") == "is in another language"
    assert fault(german, german) == ""
    assert fault("Paris") == ""  # one word could be of any


def test_the_system_message_is_in_no_language_that_counts():
    prompt = [{"role": "system", "content": "Du bist ein Assistent, und du bist nicht der, den ich kenne."}]
    prompt += [{"role": "user", "content": ENGLISH}]
    assert faults(["It is the city of Paris, and there are more than two million of them."], [prompt]) == [""]


@pytest.mark.parametrize(
    ("now", "cut", "before", "cut_before", "endless"),
    [
        ("a" * 100, True, "a" * 50, False, True),
        ("a" * 100, True, "a" * 51, False, False),  # it says a little more
        ("a" * 100, True, "a" * 50, True, False),  # it was cut off before as well
        ("a" * 100, False, "a" * 10, False, False),  # a long answer that comes to an end
        ("a" * 10, False, "a" * 100, True, False),  # answers became short
        ("a" * 100, True, "", False, False),  # there was no answer before
    ],
)
def test_only_an_answer_without_an_end_where_there_was_one_early_runs_on(now, cut, before, cut_before, endless):
    assert run_on([now], [cut], [before], [cut_before]) == [endless]


def test_an_answer_that_runs_on_and_has_no_other_fault_does_not_end():
    prompt, found = [{"role": "user", "content": ENGLISH}], ["It is Paris, and it is", "..."]
    assert faults(found, [prompt] * 2, [True, True]) == ["does not end", "is empty"]
    assert faults(found, [prompt] * 2, [False, False]) == ["", "is empty"]

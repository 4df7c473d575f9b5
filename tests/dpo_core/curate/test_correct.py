"""Corrections by rules and by a stronger model: what they make, and why some are none."""

import pytest
from pydantic import ValidationError

from dpo_core.curate.correct import (
    EMPTIED,
    ENDLESS,
    LACKING,
    TOO_MUCH,
    UNCHANGED,
    Corrected,
    Correction,
    CorrectionRule,
    Uncorrected,
    corrected,
)
from dpo_core.curate.cuts import whole_sentences
from dpo_core.curate.rewriting import (
    EMPTY_REPLY,
    NO_REPLY,
    REFUSED,
    TOO_LONG,
    Rewriting,
    question,
    rewritten,
    taken,
)

PROMPT = [{"role": "user", "content": "Who are you?"}]


def by(*rules, max_change=1.0):
    return Correction(
        rules=[CorrectionRule(name=f"r{n}", **rule) for n, rule in enumerate(rules)], max_change=max_change
    )


def test_each_rule_works_on_what_the_ones_before_it_left():
    rules = by({"replace": {"foo": "bar"}}, {"pattern": r"bar (\w+)", "by": r"<\1>"}, {"sentences": 1})
    found = corrected("foo one. Two.", rules, {})
    assert (found.text, found.by) == ("<one>.", ("r0", "r1", "r2"))


def test_the_distance_is_the_share_of_words_and_marks_that_change():
    assert corrected("I am Bo.", by({"replace": {"Bo": "Al"}}), {}) == Corrected("I am Al.", ("r0",), 0.25)


def test_a_correction_that_changes_nothing_or_too_much_or_leaves_nothing_is_none():
    rule = {"pattern": "Bo.*", "by": "nobody that you know of"}
    assert corrected("I am Al.", by(rule), {}) == Uncorrected(UNCHANGED)
    assert corrected("I am Al.", by({"replace": {"Al.": "Al.  "}}), {}) == Uncorrected(UNCHANGED)
    assert corrected("I am Bo.", by(rule, max_change=0.2), {}) == Uncorrected(TOO_MUCH, ("r0",))
    assert corrected("Bo.", by({"pattern": ".*", "by": ""}), {}) == Uncorrected(EMPTIED, ("r0",))


def test_a_pattern_that_does_not_end_costs_its_answer_alone():
    rules = by({"pattern": "(a+)+$", "by": ""})
    assert corrected("a" * 3000 + "b", rules, {}) == Uncorrected(ENDLESS, ("r0",))
    assert corrected("xa", rules, {}).text == "x"


def test_a_template_takes_the_answer_and_the_prompts_own_keys():
    rule = {"template": "{answer} I am {name}.", "where": {"kind": "name"}}
    assert corrected("Hi!", by(rule), {"kind": "name", "name": "Al"}).text == "Hi! I am Al."
    assert corrected("Hi!", by(rule), {"kind": "sum"}) == Uncorrected(UNCHANGED)
    assert corrected("Hi!", by(rule), {"kind": "name"}) == Uncorrected(LACKING, ("r0",))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({}, "here are 0"),
        ({"sentences": 1, "template": "x"}, "here are 2"),
        ({"pattern": "("}, "cannot be used"),
        ({"pattern": "a", "by": r"\3"}, "cannot be used"),
        ({"template": "{answer.__class__}"}, "a name alone"),
        ({"template": "{answer:>9}"}, "a name alone"),
        ({"template": "{"}, "no template"),
        ({"replace": {"": "x"}}, "is empty"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_before_any_answer(rule, says):
    with pytest.raises(ValidationError, match=says):
        CorrectionRule(name="r", **rule)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="stands twice"):
        Correction(rules=[CorrectionRule(name="r", sentences=1)] * 2)


def test_cuts_end_with_whole_sentences_of_the_first_line():
    assert whole_sentences("Dr. No is here. He left! And\nmore.") == ["Dr. No is here.", "Dr. No is here. He left!"]
    assert whole_sentences("no end") == []


def test_a_stronger_model_is_asked_with_instruction_conversation_and_answer():
    system, user = question(PROMPT, "I am Bo.", "Say Al.")
    assert system == {"role": "system", "content": "Say Al."}
    assert "[user]\nWho are you?" in user["content"]
    assert user["content"].endswith("[answer to correct]\nI am Bo.")


def test_replies_that_are_no_corrections_are_told_apart():
    rules = Rewriting(instruction="x", max_longer=2.0)
    answer = "word " * 30
    assert taken(answer, None, rules) == Uncorrected(NO_REPLY)
    assert taken(answer, " \n", rules) == Uncorrected(EMPTY_REPLY)
    assert taken(answer, "I'm sorry, but I can't do that.", rules) == Uncorrected(REFUSED)
    assert taken(answer, "other " * 61, rules) == Uncorrected(TOO_LONG)
    assert taken(answer, answer, rules) == Uncorrected(UNCHANGED)
    assert isinstance(taken(answer, "other " * 60, rules), Corrected)
    assert isinstance(taken("No.", "a short but whole sentence", rules), Corrected)  # short replies are always free
    assert isinstance(taken(answer, "I'm sorry.", Rewriting(instruction="x", refusals=True)), Corrected)


def test_all_answers_are_asked_for_at_once_and_replies_that_lack_are_an_error():
    asked = []

    def ask(conversations):
        asked.append(len(conversations))
        return ["I am Al.", None][: len(conversations)]

    rules = Rewriting(instruction="Say Al.")
    found = rewritten([(PROMPT, "I am Bo.")] * 2, rules, ask)
    assert found == [Corrected("I am Al.", ("rewritten",), 0.25), Uncorrected(NO_REPLY)]
    assert asked == [2]
    with pytest.raises(ValueError, match="3 answers were to be corrected, but 2 replies came"):
        rewritten([(PROMPT, "I am Bo.")] * 3, rules, ask)

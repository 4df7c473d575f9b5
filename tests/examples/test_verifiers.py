"""The rules that two recipes reward by: they tell right answers from wrong ones, and train on nothing that is asked."""

import importlib.util
import json
from pathlib import Path

import pytest

from dpo_core.rewards.rules import own_checks

EXAMPLES = Path(__file__).parents[2] / "examples"


def script(name):
    spec = importlib.util.spec_from_file_location(f"{name}_questions", EXAMPLES / name / "questions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPTS = {name: script(name) for name in ("instructions", "capability")}
FILES = {name: module.files() for name, module in SCRIPTS.items()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shipped_prompts_are_those_that_the_script_writes(name):
    # its `require_tells` held every row's rule against a right and a wrong answer on the way
    for file, rows in FILES[name].items():
        lines = (EXAMPLES / name / file).read_text().splitlines()
        assert [json.loads(line) for line in lines] == rows


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_prompt_stands_in_two_files(name):
    prompts = [row["prompt"] for rows in FILES[name].values() for row in rows]
    assert len(prompts) == len(set(prompts))


def test_kinds_and_topics_that_are_asked_about_apart_were_never_trained_on():
    files, module = FILES["instructions"], SCRIPTS["instructions"]
    kinds = {file: {row["source"] for row in rows} for file, rows in files.items()}
    assert kinds["prompts.jsonl"] == kinds["checks/constraints.jsonl"] == {*module.TAUGHT}
    assert kinds["checks/other_kinds.jsonl"] == {*module.UNSEEN}
    assert not {*module.TAUGHT} & {*module.UNSEEN}
    assert not {*module.TOPICS.split(", ")} & {*module.OTHERS.split(", ")}


def test_the_third_level_is_asked_about_and_never_trained_on():
    levels = {file: {row["source"][-1] for row in rows} for file, rows in FILES["capability"].items()}
    assert levels == {"prompts.jsonl": {"1", "2"}, "checks/tasks.jsonl": {"1", "2"}, "checks/harder.jsonl": {"3"}}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_rule_that_always_agrees_or_never_does_is_told_before_anything_is_trained(name):
    tells = SCRIPTS[name].require_tells
    tells("Two plus two?", {"number": 4}, "It is 4.", "5")
    for wanted in ({"min_words": 0, "must_match": [""]}, {"must_contain": ["four"]}):
        with pytest.raises(SystemExit, match="Two plus two"):
            tells("Two plus two?", wanted, "It is 4.", "5")


ANSWERS = [
    ({"number": 52}, ["45 + 7 = 52", "The sum is 52.", "52"], ["45 + 7", "It is 52, or 53.", "fifty"]),
    ({"must_match": [r"\A\D*97\D*\Z"]}, ["97", "The largest is 97."], ["97 is larger than 12.", "12", ""]),
    (
        {"must_match": [r"(?<!\d)3\D{1,6}17\D{1,6}40(?!\d)\D*\Z"]},
        ["3, 17, 40", "Sorted: 3 17 40.", "3\n17\n40"],
        ["40, 17, 3", "13, 17, 40", "3, 17, 40, 52", "3, 17, 400"],
    ),
    ({"must_match": [r"\A\W*Today\b"]}, ['"Today we swim."', "Today, honey is sweet."], ["We swim today.", "Todays"]),
    ({"must_match": [r"(?i)\bmy friend\W*\Z"]}, ["It is fine, my friend.", "My friend!"], ["My friend, it is fine."]),
    ({"must_match": [r'\A"[^"]+"\Z']}, ['"It is fine."'], ['It is "fine".', '"One" and "two"', "It is fine."]),
    ({"must_match": [r"\A- [^\n]+\n+- [^\n]+\Z"]}, ["- One.\n- Two.", "- One.\n\n- Two."], ["- One.", "- a\n- b\n- c"]),
    ({"must_not_match": [r"[A-Z]"], "min_words": 3}, ["honey is sweet."], ["Honey is sweet.", "sweet", ""]),
    ({"must_contain": [["3", "three"]], "must_not_contain": ["4", "four"]}, ["Three words."], ["Four.", "3 or 4", ""]),
    (
        {"json_schema": {"type": "object", "required": ["text"]}},
        ['{"text": "a"}'],
        ['{"answer": "a"}', "text: a", "[1]"],
    ),
]


@pytest.mark.parametrize(("wanted", "right", "wrong"), ANSWERS)
def test_a_rule_agrees_with_right_answers_and_no_others(wanted, right, wrong):
    checks = own_checks(wanted)
    told = {answer: all(check(answer, "") for check in checks) for answer in [*right, *wrong]}
    assert told == {answer: answer in right for answer in [*right, *wrong]}

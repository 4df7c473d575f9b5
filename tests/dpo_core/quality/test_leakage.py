"""Prompts trained on against held-out prompts and benchmarks."""

import json

import numpy as np
import pytest

from dpo_core.errors import InputError
from dpo_core.quality.checks import leakage
from dpo_core.quality.prompts.index import HELD_OUT, index_benchmarks, index_prompts, read_prompts
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import answer, make_pair, measured, run_check, severities

WORDS = [f"word{number}" for number in range(60)]


def checked(train, held_out, *, own_split=False, benchmarks=(), **limits):
    index = [index_prompts(HELD_OUT, [pair.pair.prompt for pair in held_out])] if held_out else []
    return run_check(leakage.CHECK, train, Validation(**limits), [*index, *benchmarks], own_split=own_split)


def distinct(count):
    return [make_pair(f"prompt {row}", f"good {row}", f"poor {row}") for row in range(count)]


def asks(*prompts):
    return [make_pair(prompt, "x", "y") for prompt in prompts]


def sentence(changed=()):
    return " ".join(f"new{number}" if number in changed else word for number, word in enumerate(WORDS))


def test_a_held_out_prompt_that_is_trained_on_fails_whatever_its_case_and_spacing():
    measures, findings = checked(distinct(5), asks("  PROMPT\n3 ", "prompt 33"))
    assert measured((measures, findings))["leakage/prompt_overlap"] == 1
    assert measures[0].fail_above == 0
    assert findings[0].severity == "fail"
    assert findings[0].statistics == {"held_out_pairs": 1, "prompts": 1, "train_pairs": 1, "share": 0.5}
    assert len(findings[0].evidence) == 1


def test_no_overlap_has_no_finding():
    assert checked(distinct(5), asks("something new"))[1] == []


def test_prompts_of_unlike_words_have_no_overlap():
    rng = np.random.default_rng(0)
    train, held_out = ([make_pair(answer(rng), "x", "y") for _ in range(size)] for size in (400, 100))
    assert checked(train, held_out)[1] == []


def test_without_held_out_pairs_leakage_is_not_said_to_be_absent():
    measures, findings = checked(distinct(5), [])
    assert measures == []
    assert findings[0].severity == "info"


def test_a_nearly_equal_prompt_across_the_split_fails():
    # one word of 60 changed: 56 shingles each, 5 differ: J = 51 / 61 = .836
    results = checked(asks(sentence([30]), "else"), asks(sentence()))
    assert severities(results) == {"leakage/near_prompt": "fail"}


def test_two_changed_words_are_not_near_enough():
    # 10 of 56 shingles differ: J = 46 / 66 = .70
    assert "leakage/near_prompt" not in severities(checked(asks(sentence([20, 40])), asks(sentence())))


@pytest.mark.parametrize(
    ("held_out", "fails"),
    [
        (" ".join(WORDS[:16]), True),  # stands in the trained prompt as a whole
        (" ".join([*WORDS[:16], "and", "then", "some"]), True),  # 16 of 19 words
        (" ".join([*WORDS[:16], *["what", "else", "is", "there", "to", "say"]]), False),  # 16 of 22
        (" ".join([*WORDS[:10], "once"]), False),  # 10 of 11 words, but a phrase, not a text
        (" ".join(WORDS[:7]), False),  # shorter than an n-gram
    ],
)
def test_a_held_out_prompt_that_stands_within_a_trained_one_fails(held_out, fails):
    results = checked(asks("Please go on: " + sentence() + " What comes next, in your opinion?"), asks(held_out))
    assert ("leakage/prompt_in_part" in severities(results)) == fails


def test_what_the_prompts_of_a_set_have_in_common_is_no_overlap():
    frame = "Translate the following sentence from English into German and keep its tone as it is please: "
    train, held_out = asks(*(f"{frame}{n}" for n in range(40))), asks(*(f"{frame}{n}" for n in range(100, 140)))
    assert checked(train, held_out)[1] == []


def test_near_prompts_in_the_pipelines_own_split_only_warn():
    results = checked(asks(sentence([30])), asks(sentence()), own_split=True)
    assert severities(results) == {"leakage/near_prompt": "warn"}


def test_a_shared_system_message_makes_no_prompts_alike():
    def told(question):
        pair = make_pair(question, "x", "y")
        prompt = ({"role": "system", "content": sentence()}, *pair.pair.prompt)
        return type(pair)(type(pair.pair)(prompt, pair.pair.chosen, pair.pair.rejected), (), (), ())

    assert checked([told("What is it?")], [told("Who was that?")])[1] == []


def test_any_question_of_a_conversation_can_be_a_benchmarks():
    question = ({"role": "user", "content": "Why is the sky blue?"},)
    index = index_prompts("benchmark_sky", [question], turns=True)
    pair = make_pair("Hello", "x", "y")
    prompt = (*pair.pair.prompt, {"role": "assistant", "content": "Hi"}, *question)
    asked = type(pair)(type(pair.pair)(prompt, pair.pair.chosen, pair.pair.rejected), (), (), ())
    results = checked([asked, *distinct(9)], [], benchmarks=[index])
    assert measured(results) == {"leakage/benchmark_sky": 0.1}
    assert severities(results)["leakage/benchmark_sky"] == "warn"


def test_benchmark_overlap_within_its_limit_is_only_told(tmp_path):
    (tmp_path / "bench.txt").write_text("prompt 3\nprompt 77\n")
    indexes = index_benchmarks({"mine": str(tmp_path / "bench.txt")})
    results = checked(distinct(10), [], benchmarks=indexes, max_benchmark_overlap=0.1)
    assert severities(results)["leakage/benchmark_mine"] == "info"
    assert results[1][0].statistics["of_prompts"] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"prompt": "one"}\n\n{"prompt": [{"role": "user", "content": "two"}]}\n', ["one", "two"]),
        ("\ufeffone\ntwo\n", ["one", "two"]),
    ],
)
def test_benchmarks_are_json_lines_or_text(tmp_path, text, expected):
    (tmp_path / "bench").write_text(text, encoding="utf-8")
    assert [prompt[-1]["content"] for prompt in read_prompts(str(tmp_path / "bench"))] == expected


def test_of_a_benchmarks_conversation_turns_of_others_that_are_no_text_are_left_out(tmp_path):
    asked, calls = {"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [{}]}
    turns = [asked, calls, {"role": "ipython", "content": "3"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "bench").write_text(json.dumps({"prompt": turns}))
    assert read_prompts(str(tmp_path / "bench")) == [(asked, {"role": "assistant", "content": "b"})]


@pytest.mark.parametrize("text", ["", '{"prompt": "a"}\n{"question": "b"}\n', '{"prompt": 3}\n'])
def test_a_file_without_prompts_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "bench").write_text(text)
    with pytest.raises(InputError):
        read_prompts(str(tmp_path / "bench"))


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ('[{"role": "user", "content": "a"}, {"role": "user", "content": null}]', r"prompt\[1\]"),
        ('["a"]', r"prompt\[0\] is not a message"),
        ('[{"role": "system", "content": "a"}]', "no words of a user"),
        ('{"role": "user"}', "not text or a list of messages"),
    ],
)
def test_a_benchmarks_conversation_that_cannot_be_read_is_named_with_its_line_and_place(tmp_path, prompt, says):
    (tmp_path / "bench").write_text(f'{{"prompt": "a"}}\n{{"prompt": {prompt}}}\n')
    with pytest.raises(InputError, match=says) as caught:
        read_prompts(str(tmp_path / "bench"))
    assert caught.value.where.endswith("bench:2")

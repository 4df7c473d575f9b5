"""One notion of the same prompt, for the split, the clusters, duplicates and leakage."""

import pytest

from dpo_core.quality.checks import duplicates, leakage
from dpo_core.quality.prompts.identity import asked, digest, prompt_key, question_keys, split_key
from dpo_core.quality.prompts.index import HELD_OUT, index_prompts
from tests.dpo_core.quality.quality_data import make_pair, measured, run_check

ASKED = ({"role": "system", "content": "Be  Kind."}, {"role": "user", "content": "What IS\n2+2, stra\u00dfe?"})


def test_the_key_of_a_prompt_in_the_split_is_that_of_earlier_versions():
    # by its digest the side of a prompt is on record: another key would be another prompt
    assert prompt_key(ASKED) == "system: be kind.\nuser: what is 2+2, strasse?"
    assert split_key(ASKED) == "user: what is 2+2, strasse?"
    assert digest(split_key(ASKED)) == 8662971344141377059


def test_the_split_goes_by_every_question_and_by_nothing_else():
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}, ASKED[1]]
    assert split_key(turns) == "user: why?\nuser: what is 2+2, strasse?"
    assert split_key([{"role": "system", "content": "Be kind."}]) == "system: be kind."


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Say  it\n", "say it", True),
        ("Stra\u00dfe", "STRASSE", True),
        ("2+2", "2 + 2", False),
        ("say it", "say it!", False),
    ],
)
def test_split_duplicates_and_leakage_agree_on_which_prompts_are_the_same(one, other, same):
    pairs = [make_pair(prompt, "x", "y") for prompt in (one, other)]
    keys = [prompt_key(pair.pair.prompt) for pair in pairs]
    held_out = index_prompts(HELD_OUT, [pairs[1].pair.prompt])
    assert (keys[0] == keys[1]) == same
    assert (measured(run_check(duplicates.CHECK, pairs))["consistency/duplicates"] == 0.5) == same
    results = run_check(leakage.CHECK, pairs[:1], indexes=[held_out])
    assert (measured(results)["leakage/prompt_overlap"] == 1) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [("caf\u00e9 or tea?", "cafe\u0301 or tea?"), ("\uff21\uff22 or C?", "AB or C?")],
    ids=["NFD", "wide"],
)
def test_one_text_typed_in_two_ways_is_a_copy_and_a_leak(one, other):
    pairs = [make_pair(prompt, "x", "y") for prompt in (one, other)]
    held_out = index_prompts(HELD_OUT, [pairs[1].pair.prompt])
    assert measured(run_check(duplicates.CHECK, pairs))["consistency/duplicates"] == 0.5
    assert measured(run_check(leakage.CHECK, pairs[:1], indexes=[held_out]))["leakage/prompt_overlap"] == 1


def test_another_role_or_another_call_of_a_tool_is_another_prompt():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
    calls = ({**ASKED[1]}, {"role": "assistant", "content": "", "tool_calls": [call]})
    others = ({**ASKED[1]}, {"role": "assistant", "content": "", "tool_calls": []})
    assert (
        len({prompt_key(prompt) for prompt in (calls, others, ASKED, ASKED[1:], [{**ASKED[1], "role": "tool"}])}) == 5
    )


def test_the_questions_of_a_conversation_have_keys_of_their_own():
    talk = (*ASKED, {"role": "assistant", "content": "4"}, {"role": "user", "content": "Sure?"})
    assert question_keys(talk) == [prompt_key([talk[1]]), prompt_key([talk[3]])]
    assert asked(talk[:2]) == talk[1]["content"]


def test_nothing_has_the_digest_zero_and_all_else_another():
    assert digest("") == digest(b"") == 0
    assert 0 < digest("a") == digest(b"a") != digest("b") < 2**63

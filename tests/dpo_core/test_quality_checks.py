"""Structure, consistency, leakage and balance on pairs small enough to count by eye."""

import math

import pytest

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.consistency import check_consistency
from dpo_core.quality.evidence import excerpt, redact
from dpo_core.quality.leakage import check_leakage
from dpo_core.quality.structure import check_structure
from dpo_core.quality.verdict import examine
from dpo_core.recipe import Validation
from tests.dpo_core.quality_data import make_pair


def distinct(count):
    return [make_pair(f"prompt {row}", f"good {row}", f"poor {row}") for row in range(count)]


def measured(results):
    return {measure.check: measure.value for measure in results[0]}


def severities(results):
    return {finding.check: finding.severity for finding in results[1]}


def with_ids(pair, chosen, rejected):
    return EncodedPair(pair.pair, (1,), chosen, rejected)


def test_sound_pairs_have_no_structure_findings():
    results = check_structure(distinct(10))
    assert measured(results) == {"structure/identical_or_empty": 0, "structure/end_of_turn": 0}
    assert results[1] == []


@pytest.mark.parametrize("bad", [make_pair("p", "same", "same"), make_pair("p", "fine", " \n")])
def test_identical_and_empty_answers_are_counted(bad):
    results = check_structure([*distinct(9), bad])
    assert measured(results)["structure/identical_or_empty"] == 0.1
    assert severities(results)["structure/identical_or_empty"] == "fail"


def test_one_useless_pair_in_two_hundred_only_warns():
    results = check_structure([*distinct(199), make_pair("p", "same", "same")])
    assert severities(results) == {"structure/identical_or_empty": "warn"}


def test_answers_that_differ_as_text_and_not_as_tokens_are_identical():
    results = check_structure([with_ids(make_pair("p", "a", "a "), (5, 2), (5, 2))])
    assert measured(results)["structure/identical_or_empty"] == 1


def test_an_answer_of_the_end_of_turn_token_alone_is_empty():
    results = check_structure([with_ids(make_pair("p", "a", "b"), (5, 2), (2,))])
    assert measured(results)["structure/identical_or_empty"] == 1


def test_one_sided_ends_of_turn_are_counted_by_token_and_by_text():
    cut = with_ids(make_pair("p", "a", "b"), (5, 2), (6, 7))
    written = make_pair("q", "a<|im_end|>", "b")
    results = check_structure([cut, written, *distinct(2)])
    assert measured(results)["structure/end_of_turn"] == 0.5


def test_duplicates_count_the_copies_and_not_the_first():
    pairs = distinct(8)
    results = check_consistency([*pairs, pairs[0], pairs[0]], Validation(max_duplicates=0.1))
    assert measured(results)["consistency/duplicates"] == 0.2
    assert severities(results)["consistency/duplicates"] == "fail"


def test_duplicates_within_the_limit_are_only_told():
    pairs = distinct(19)
    assert severities(check_consistency([*pairs, pairs[0]], Validation())) == {"consistency/duplicates": "info"}


@pytest.mark.parametrize(("others", "expected"), [(198, "warn"), (98, "fail")])  # 2 of 200 is 1 %; 2 of 100 is above
def test_the_same_pair_in_both_directions_warns_and_above_one_percent_fails(others, expected):
    pairs = [*distinct(others), make_pair("p", "A", "B"), make_pair("p", "B", "A")]
    results = check_consistency(pairs, Validation())
    assert measured(results)["consistency/both_directions"] == 2 / (others + 2)
    assert severities(results) == {"consistency/both_directions": expected}


def test_the_same_answers_the_other_way_round_for_another_prompt_are_no_contradiction():
    results = check_consistency([make_pair("p", "A", "B"), make_pair("q", "B", "A")], Validation())
    assert measured(results)["consistency/both_directions"] == 0


def test_a_held_out_prompt_that_is_trained_on_fails_whatever_its_case_and_spacing():
    held_out = [make_pair("  PROMPT\n3 ", "x", "y"), make_pair("prompt 33", "x", "y")]
    results = check_leakage(distinct(5), held_out)
    assert measured(results) == {"leakage/prompt_overlap": 1}
    assert results[0][0].fail_above == 0
    assert results[1][0].severity == "fail"
    assert results[1][0].statistics == {"held_out_pairs": 1, "prompts": 1, "share": 0.5}
    assert len(results[1][0].evidence) == 1


def test_no_overlap_has_no_finding():
    assert check_leakage(distinct(5), [make_pair("new", "x", "y")])[1] == []


def test_without_held_out_pairs_leakage_is_not_said_to_be_absent():
    measures, findings = check_leakage(distinct(5), [])
    assert measures == []
    assert findings[0].severity == "info"


def test_no_pairs_at_all_measure_nothing_that_could_pass():
    values = {measure.check: measure.value for measure in examine([], [], Validation(), None).measures}
    nan = {check for check, value in values.items() if math.isnan(value)}
    assert {"structure/identical_or_empty", "consistency/duplicates", "balance/length_words"} <= nan


@pytest.mark.parametrize(
    "secret", ["sk-proj-abc123def456", "ghp_0123456789abcdef", "AKIAIOSFODNN7EXAMPLE", "eve.x+1@mail.example.org"]
)
def test_secrets_are_masked_and_words_are_not(secret):
    assert secret not in redact(f"my login: {secret}, thanks")
    assert (
        redact("an extraordinarily-well-hyphenated-compound word") == "an extraordinarily-well-hyphenated-compound word"
    )


def test_an_excerpt_is_the_window_round_the_feature():
    text = "a" * 300 + " zebra " + "b" * 300
    assert " zebra " in excerpt(text, "zebra")
    assert len(excerpt(text, "zebra")) == 122

"""Length and other amounts: which side has more, judged by limits once chance is ruled out."""

from dataclasses import replace

import pytest

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.check import Facts
from dpo_core.quality.checks import generators
from dpo_core.quality.examine import tables_of
from dpo_core.quality.shortcuts.balance import check_balance
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import make_pair, run_check


def balance_of(pairs, intended=()):
    validation = Validation(intended=list(intended))
    return check_balance(Facts(*tables_of(pairs, validation)), validation)


def measured(results):
    return {measure.check: measure.value for measure in results[0]}


def severities(results):
    return {finding.check: finding.severity for finding in results[1]}


def lengths(longer, shorter, ties=0):
    sides = [("one two", "one")] * longer + [("one", "one two")] * shorter + [("one", "two")] * ties
    return [make_pair(f"p{row}", *side) for row, side in enumerate(sides)]


@pytest.mark.parametrize(("longer", "expected"), [(55, "info"), (65, "warn"), (75, "fail")])
def test_the_share_that_the_longer_answer_wins_is_judged_by_the_limits(longer, expected):
    results = balance_of(lengths(4 * longer, 400 - 4 * longer))
    assert measured(results)["balance/length_words"] == longer / 100
    assert severities(results)["balance/length_words"] == expected


def test_a_win_of_the_shorter_answer_counts_alike_and_is_said():
    measures, findings = balance_of(lengths(100, 300))
    assert measures[0].value == 0.75
    assert "the shorter answer" in findings[0].says


def test_ties_count_half():
    # (30 + 20 / 2) / 60 = 2/3
    assert measured(balance_of(lengths(30, 10, 20)))["balance/length_words"] == pytest.approx(2 / 3)


def test_eight_to_two_is_too_few_to_tell_and_does_not_gate():
    # P(8 or more of 10, two-sided) = 112 / 1024 = .109
    measures, findings = balance_of(lengths(8, 2))
    assert (measures[0].value, measures[0].warn_above, measures[0].fail_above) == (0.8, None, None)
    assert findings[0].severity == "info"
    assert findings[0].statistics["p"] == pytest.approx(112 / 1024)
    assert "too few to tell" in findings[0].says


def test_all_ties_are_balanced():
    measures, _ = balance_of(lengths(0, 0, 20))
    assert measures[0].value == 0.5


def test_length_is_in_tokens_where_there_are_tokens():
    pairs = [EncodedPair(make_pair(f"prompt {row}", "good", "poor").pair, (1,), (1, 2, 3), (1, 2)) for row in range(20)]
    values = measured(balance_of(pairs))
    assert (values["balance/length_tokens"], values["balance/length_characters"]) == (1, 0.5)
    assert "balance/length_words" not in values


def test_a_declared_length_is_shown_and_has_no_limit():
    measures, findings = balance_of(lengths(300, 100), ["length"])
    assert (measures[0].value, measures[0].warn_above, measures[0].fail_above) == (0.75, None, None)
    assert (findings[0].severity, findings[0].intended) == ("info", True)


def test_more_exclamation_marks_at_equal_length_fail_by_their_own_name():
    texts = [[f"well done {row}" + "!" * 2, f"well done {row}.."] for row in range(60)]
    pairs = [make_pair(f"p{row}", *sides) for row, sides in enumerate(texts)]
    assert severities(balance_of(pairs))["balance/exclamation_marks"] == "fail"


def test_pairs_that_share_one_prompt_are_too_few_to_judge_a_length():
    pairs = [make_pair("the same", "one two", f"{row}") for row in range(40)]
    assert severities(balance_of(pairs))["balance/length_words"] == "info"


def with_models(chosen, rejected, count, start=0):
    pairs = [make_pair(f"p{row}", f"good {row}", f"poor {row}") for row in range(start, start + count)]
    meta = {"chosen_model": chosen, "rejected_model": rejected}
    return [EncodedPair(replace(pair.pair, meta=meta), (), (), ()) for pair in pairs]


def origins_of(pairs, intended=()):
    return run_check(generators.CHECK, pairs, Validation(intended=list(intended)))


def test_a_model_that_is_always_chosen_is_named():
    measures, findings = origins_of([*with_models("big", "small", 60), *with_models("small", "tiny", 60, 60)])
    assert measures[0].value == 1
    assert findings[0].severity == "fail"
    assert "answers of" in findings[0].says
    assert ("big", 60, 0, 1.0) in findings[0].tables[0].rows
    assert ("small", 60, 60, 0.5) in findings[0].tables[0].rows


def test_forty_pairs_of_a_model_are_too_few_to_call_it_a_leak():
    assert origins_of(with_models("big", "small", 40))[1] == []


def test_models_that_win_and_lose_are_no_leak_and_rows_without_models_are_not_judged():
    assert origins_of([*with_models("a", "b", 50), *with_models("b", "a", 50, 50)])[1] == []
    assert origins_of(with_models("", "", 60)) == ([], [])


def test_models_on_purpose_are_declared_as_generator():
    measures, findings = origins_of(with_models("big", "small", 60), ["generator"])
    assert measures[0].fail_above is None
    assert (findings[0].severity, findings[0].intended) == ("info", True)

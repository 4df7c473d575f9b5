"""Balance on pairs small enough to count by eye, and all checks on none."""

import math

import pytest

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.balance import check_balance
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


def lengths(longer, shorter, ties=0):
    sides = [("one two", "one")] * longer + [("one", "one two")] * shorter + [("one", "two")] * ties
    return [make_pair(f"p{row}", *side) for row, side in enumerate(sides)]


@pytest.mark.parametrize(("longer", "expected"), [(55, "info"), (65, "warn"), (75, "fail")])
def test_the_share_that_the_longer_answer_wins_is_judged_by_the_limits(longer, expected):
    results = check_balance(lengths(4 * longer, 400 - 4 * longer), Validation())
    assert measured(results)["balance/length_words"] == longer / 100
    assert severities(results)["balance/length_words"] == expected


def test_a_win_of_the_shorter_answer_counts_alike_and_is_said():
    measures, findings = check_balance(lengths(100, 300), Validation())
    assert measures[0].value == 0.75
    assert "the shorter answer" in findings[0].says


def test_ties_count_half():
    # (30 + 20 / 2) / 60 = 2/3
    assert measured(check_balance(lengths(30, 10, 20), Validation()))["balance/length_words"] == pytest.approx(2 / 3)


def test_eight_to_two_is_too_few_to_tell_and_does_not_gate():
    # P(8 or more of 10, two-sided) = 112 / 1024 = .109
    measures, findings = check_balance(lengths(8, 2), Validation())
    assert (measures[0].value, measures[0].warn_above, measures[0].fail_above) == (0.8, None, None)
    assert findings[0].severity == "info"
    assert findings[0].statistics["p"] == pytest.approx(112 / 1024)
    assert "too few to tell" in findings[0].says


def test_all_ties_are_balanced():
    measures, _ = check_balance(lengths(0, 0, 20), Validation())
    assert measures[0].value == 0.5


def test_length_is_in_tokens_where_there_are_tokens():
    pairs = [with_ids(pair, (1, 2, 3), (1, 2)) for pair in distinct(20)]
    assert measured(check_balance(pairs, Validation())) == {
        "balance/length_tokens": 1,
        "balance/length_characters": 0.5,
    }


def test_no_pairs_at_all_measure_nothing_that_could_pass():
    values = {measure.check: measure.value for measure in examine([], [], Validation(), None).measures}
    nan = {check for check, value in values.items() if math.isnan(value)}
    assert {"structure/identical_or_empty", "consistency/duplicates", "balance/length_words"} <= nan

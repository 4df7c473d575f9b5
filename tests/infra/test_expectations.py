"""Great Expectations decides: row expectations, thresholds, and nothing passes for want of data."""

import json
import logging
import math

import pytest

from infra.expectations import validate

GOOD = ("shortcut/failing_features", 0.0, None, 0.0)


def table(count=3, **changes):
    row = {"prompt": "p", "chosen": "yes", "rejected": "no", "chosen_tokens": 2, "rejected_tokens": 2, **changes}
    return [{"id": f"row {number}", **row} for number in range(count)]


def judge(rows, measures=(GOOD,), min_rows=1):
    return validate(rows, list(measures), name="t", min_rows=min_rows)


def test_good_pairs_and_measures_pass():
    outcome = judge(table())
    assert outcome.verdict == "pass"
    assert set(outcome.by_check.values()) == {"pass"}


@pytest.mark.parametrize(("value", "expected"), [(0.59, "pass"), (0.6, "pass"), (0.61, "warn"), (0.71, "fail")])
def test_a_measure_above_its_limits_warns_then_fails(value, expected):
    outcome = judge(table(), [("balance/length", value, 0.6, 0.7)])
    assert outcome.by_check["balance/length"] == expected
    assert outcome.verdict == expected


def test_the_worst_check_is_the_verdict_and_the_others_keep_their_own():
    outcome = judge(table(), [("a/warns", 1.0, 0.5, None), ("b/fails", 1.0, None, 0.5), ("c/free", 1.0, None, None)])
    assert outcome.verdict == "fail"
    assert {name: outcome.by_check[name] for name in ("a/warns", "b/fails", "c/free")} == {
        "a/warns": "warn",
        "b/fails": "fail",
        "c/free": "pass",
    }


@pytest.mark.parametrize("limits", [(None, None), (0.5, None), (0.5, 0.7)])
def test_a_measure_that_is_not_a_number_fails_whatever_its_limits(limits):
    assert judge(table(), [("balance/length", math.nan, *limits)]).by_check["balance/length"] == "fail"


def test_no_rows_fail_even_when_none_are_required():
    outcome = judge([], min_rows=0)
    assert outcome.by_check["structure/min_rows"] == "fail"
    assert outcome.verdict == "fail"


def test_no_measures_fail():
    assert judge(table(), []).by_check["structure/measured"] == "fail"


def test_fewer_rows_than_required_fail():
    assert judge(table(3), min_rows=4).by_check["structure/min_rows"] == "fail"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"chosen": None}, "structure/complete"),
        ({"prompt": ""}, "structure/not_empty"),
        ({"rejected": ""}, "structure/not_empty"),
        ({"chosen_tokens": 0}, "structure/has_tokens"),
        ({"chosen": "no"}, "structure/answers_differ"),
    ],
)
def test_bad_rows_fail_the_expectation_about_them(changes, check):
    assert judge(table(**changes)).by_check[check] == "fail"


def test_one_useless_row_in_two_hundred_is_left_to_the_measure_that_counts_it_and_three_are_not():
    assert judge(table(199) + table(1, chosen="no")).by_check["structure/answers_differ"] == "pass"
    assert judge(table(197) + table(3, chosen="no")).by_check["structure/answers_differ"] == "fail"


def test_a_missing_column_fails():
    rows = [{key: value for key, value in row.items() if key != "rejected"} for row in table()]
    assert judge(rows).by_check["structure/complete"] == "fail"


def test_the_document_has_the_limits_that_applied_and_no_text_of_the_rows():
    secret = "a very private sentence"
    outcome = judge(table(chosen=secret, rejected=secret), [("balance/length", 0.65, 0.6, 0.7)])
    text = json.dumps(outcome.document)
    limits = {
        result["expectation_config"]["severity"]: result["expectation_config"]["kwargs"]["max_value"]
        for result in outcome.document["measures"]["results"]
        if "max_value" in result["expectation_config"]["kwargs"]
        and result["expectation_config"]["meta"]["check"] == "balance/length"
    }
    assert limits == {"warning": 0.6, "critical": 0.7}
    assert secret not in text


def test_two_measures_of_one_name_are_refused():
    with pytest.raises(ValueError, match="same check name"):
        judge(table(), [GOOD, GOOD])


def test_it_prints_and_logs_nothing(capfd, caplog):
    caplog.set_level(logging.INFO)
    judge(table())
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert not caplog.messages

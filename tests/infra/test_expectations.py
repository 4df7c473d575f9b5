"""Great Expectations decides: row expectations, thresholds, and nothing passes for want of data."""

import logging
import math

import pytest

from infra.expectations.project import PAIR_COLUMNS, TOKEN_COLUMNS, project_folder, validate

GOOD = ("shortcut/failing_features", 0.0, None, 0.0)


def table(count=3, **changes):
    row = {**dict.fromkeys(PAIR_COLUMNS, 1), **dict.fromkeys(TOKEN_COLUMNS, 2), **changes}
    return {column: [value] * count for column, value in row.items()}


def judge(columns, measures=(GOOD,), min_rows=1, **options):
    return validate(columns, list(measures), name="t", min_rows=min_rows, **options)


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
    outcome = judge(table(0), min_rows=0)
    assert outcome.verdict == "fail"
    assert {check for check, verdict in outcome.by_check.items() if verdict == "fail"} == {
        "structure/min_rows",
        "structure/not_empty",
        "structure/answers_differ",
        "structure/has_tokens",
    }


def test_no_measures_fail():
    assert judge(table(), []).by_check["structure/measured"] == "fail"


def test_fewer_rows_than_required_fail():
    assert judge(table(3), min_rows=4).by_check["structure/min_rows"] == "fail"


@pytest.mark.parametrize("value", [0, None, math.nan])
@pytest.mark.parametrize("column", [*PAIR_COLUMNS, *TOKEN_COLUMNS])
def test_a_column_of_zeros_or_of_nothing_fails_the_check_it_belongs_to(column, value):
    check = {**PAIR_COLUMNS, **TOKEN_COLUMNS}[column][2]
    assert judge(table(**{column: value})).by_check[check] == "fail"


def test_one_missing_value_among_two_hundred_fails():
    columns = table(200)
    columns["chosen_characters"][7] = None
    assert judge(columns).by_check["structure/not_empty"] == "fail"


def test_one_useless_row_in_two_hundred_is_left_to_the_measure_that_counts_it_and_three_are_not():
    columns = table(200)
    columns["answers_differ"][:1] = [0]
    assert judge(columns).by_check["structure/answers_differ"] == "pass"
    columns["answers_differ"][:3] = [0, 0, 0]
    assert judge(columns).by_check["structure/answers_differ"] == "fail"


@pytest.mark.parametrize("column", [*PAIR_COLUMNS, *TOKEN_COLUMNS])
def test_a_missing_column_fails(column):
    columns = {name: values for name, values in table().items() if name != column}
    assert judge(columns).verdict == "fail"


def test_pairs_that_were_never_tokenised_are_not_asked_for_tokens():
    columns = {name: values for name, values in table().items() if name in PAIR_COLUMNS}
    outcome = judge(columns)
    assert (outcome.verdict, "structure/has_tokens" in outcome.by_check) == ("pass", False)


def test_the_results_record_the_value_and_the_limits_that_applied_even_where_there_are_none():
    outcome = judge(table(), [("balance/length", 0.65, 0.6, 0.7), ("a/free", 0.1, None, None)])
    results = {
        result["expectation_config"]["meta"]["check"]: result["result"]
        for result in outcome.document["measures"]["results"]
    }
    assert results["balance/length"] == {
        "observed_value": 0.65,
        "details": {"outcome": "warn", "warn_above": 0.6, "fail_above": 0.7},
    }
    assert results["a/free"]["details"] == {"outcome": "pass", "warn_above": None, "fail_above": None}


def test_a_statistic_that_is_not_in_the_table_or_twice_fails():
    from infra.expectations.rules import ExpectPairStatisticAtMost

    rule = ExpectPairStatisticAtMost(check="a/b")
    assert not rule._validate({"pairs.statistic": []})["success"]
    assert not rule._validate({"pairs.statistic": [0.0, 0.0]})["success"]
    assert rule._validate({"pairs.statistic": [0.0]})["success"]


def test_the_suites_are_kept_where_great_expectations_opens_them(tmp_path):
    folder = project_folder(tmp_path, "my pairs.jsonl")
    assert folder == tmp_path / "expectations" / "my-pairs.jsonl"
    for limit in (0.6, 0.5):  # a second run replaces the suite and adds a result
        judge(table(), [("balance/length", 0.1, limit, None)], folder=folder)

    import great_expectations

    context = great_expectations.get_context(mode="file", project_root_dir=folder)
    suite = context.suites.get("t measures")
    assert [(e.check, e.warn_above) for e in suite.expectations[1:]] == [("balance/length", 0.5)]
    assert len(list((folder / "gx/uncommitted/validations").rglob("*.json"))) == 4


def test_data_docs_are_written_only_where_wanted_and_name_limits_and_values(tmp_path):
    judge(table(), folder=tmp_path / "a")
    assert not list((tmp_path / "a").rglob("*.html"))
    judge(table(), [("balance/length", 0.65, 0.6125, 0.7)], folder=tmp_path / "b", data_docs=True)
    pages = [page.read_text() for page in (tmp_path / "b").rglob("validations/**/*.html")]
    assert any("warns above" in page and "0.6125" in page and "0.65" in page for page in pages)


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


@pytest.mark.parametrize("left", ["", "data_context_id: ", "a: [", "config_version: 4.0\n"])
def test_a_project_that_a_killed_run_left_half_made_is_made_anew(tmp_path, caplog, left):
    (tmp_path / "gx").mkdir()
    (tmp_path / "gx" / "great_expectations.yml").write_text(left)
    assert judge(table(), folder=tmp_path).verdict == "pass"
    assert f"gx_project_damaged folder={tmp_path}" in caplog.text
    caplog.clear()
    assert judge(table(), folder=tmp_path).verdict == "pass"
    assert "gx_project_damaged" not in caplog.text

"""Two reports side by side: what is new, gone, stronger or weaker, and which files are no reports at all."""

import json

import pytest

from dpo_core.errors import InputError
from dpo_core.report.compare import compare, in_one_line
from dpo_core.report.document import quality_document, read_report
from dpo_core.report.documents import QualityDocument
from dpo_core.report.results import Finding, Measure
from tests.dpo_core.report.report_data import BY_CHECK, COUNTS, MEASURES, NAME, earlier_document, facts, full_page


def document(*findings, verdict="warn", value=0.5, outcome="pass", sha="a", lengths=None):
    counts = {
        "verdict": verdict,
        "rows_in": 10,
        "rows_kept": 9,
        "rows_quarantined": 1,
        "findings": [finding.to_document() for finding in findings],
        "data_sha256": sha,
    }
    measures = [Measure("balance/length", value, 0.6, 0.7, "says")]
    return quality_document("d", counts, measures, {"balance/length": outcome}, {"lengths": lengths or {}})


def word(severity="warn", accuracy=0.55, feature="word 'x'", intended=False):
    return Finding("shortcut/word", severity, "says", feature, intended, {"accuracy": accuracy, "z": 3.0})


def changes(before, after):
    return [(c.change, c.feature) for c in compare(document(*before), document(*after), "old").findings]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [word()], "new"),
        ([word()], [], "gone"),
        ([word("warn")], [word("fail")], "stronger"),
        ([word("fail")], [word("warn")], "weaker"),
        ([word(accuracy=0.55)], [word(accuracy=0.56)], "stronger"),  # 0.06 above a coin: a fifth more than 0.05
        ([word(accuracy=0.55)], [word(accuracy=0.54)], "weaker"),
        ([word(accuracy=0.55)], [word(accuracy=0.554)], None),  # 8 % more is noise
        ([word("fail")], [word("info", intended=True)], "weaker"),
    ],
)
def test_a_finding_is_new_gone_stronger_or_weaker(before, after, expected):
    assert changes(before, after) == ([(expected, "word 'x'")] if expected else [])


def test_notes_that_neither_gate_nor_are_declared_are_not_compared():
    assert changes([word("info")], []) == []


def test_the_same_check_on_another_feature_is_another_finding():
    assert changes([word(feature="word 'a'")], [word(feature="word 'b'")]) == [
        ("new", "word 'b'"),
        ("gone", "word 'a'"),
    ]


def test_measures_counts_and_lengths_that_moved_are_told_with_both_values():
    lengths = {"unit": "tokens", "median": {"chosen": 5.0, "rejected": 4.0}}
    longer = {"unit": "tokens", "median": {"chosen": 9.0, "rejected": 4.0}}
    found = compare(document(lengths=lengths), document(value=0.65, outcome="warn", lengths=longer), "old")
    [move] = found.measures
    assert (move.name, move.before, move.after) == ("balance/length", 0.5, 0.65)
    assert (move.outcome_before, move.outcome_after) == ("pass", "warn")
    assert (found.lengths[0].name, found.lengths[0].before, found.lengths[0].after) == ("chosen, tokens", 5.0, 9.0)
    assert (found.counts[0].name, found.counts[0].before, found.counts[0].after) == ("rows_in", 10, 10)


def test_lengths_in_words_are_not_compared_with_lengths_in_tokens():
    medians = {"median": {"chosen": 5.0, "rejected": 4.0}}
    found = compare(
        document(lengths={"unit": "words", **medians}), document(lengths={"unit": "tokens", **medians}), "o"
    )
    assert found.lengths == ()


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (document(), document(), "the same data as before, and the same verdict: warn"),
        (document(), document(sha="b"), "still warn; findings: 0 unchanged"),
        (
            document(word(), word(feature="b")),
            document(word("fail"), word(feature="c"), verdict="fail"),
            "warn before, fail now; findings: 1 new, 1 stronger, 1 gone, 0 unchanged",
        ),
    ],
)
def test_the_comparison_in_one_line(before, after, says):
    assert in_one_line(compare(before, after, "old").to_document()) == says


def test_a_report_is_found_by_its_json_its_folder_and_its_page(tmp_path):
    written = document(word())
    (tmp_path / "quality.json").write_text(json.dumps(written.to_document()))
    for path in (tmp_path, tmp_path / "quality.json", tmp_path / "quality.html"):
        assert read_report(path) == written


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no report to compare with"),
        (b"\x00\xff", "this is no data quality report"),
        (b"[1]", "this is no data quality report"),
        (b'{"schema": 1, "metrics": {}}', "this is no data quality report"),
        (b'{"schema": 1, "verdict": "pass", "findings": [7], "rows_in": 1}', "this is no data quality report"),
        (b'{"schema": 2, "verdict": "pass", "findings": [], "rows_in": 1}', "this report has schema 2"),
    ],
)
def test_what_is_no_report_of_this_version_is_refused_by_name(tmp_path, content, says):
    if content is not None:
        (tmp_path / "quality.json").write_bytes(content)
    with pytest.raises(InputError, match=says) as refused:
        read_report(tmp_path)
    assert refused.value.where == str(tmp_path / "quality.json")


def test_the_document_is_strict_json_with_tables_measures_and_lengths():
    measures = [Measure("a/b", float("nan"), None, float("inf"), "says")]
    written = quality_document(NAME, COUNTS, measures, {"a/b": "fail"}, facts()).to_document()
    read = json.loads(json.dumps(written, allow_nan=False))
    assert list(read) == ["schema", "name", *COUNTS, "measures", "facts"]
    assert read["measures"][0] == {
        "check": "a/b", "value": None, "warn_above": None, "fail_above": None, "outcome": "fail", "says": "says"
    }  # fmt: skip
    assert sum(read["facts"]["lengths"]["chosen"]) == 48_192
    [probe] = [finding for finding in read["findings"] if finding["check"] == "shortcut/probe"]
    assert probe["tables"][0]["header"] == ["features", "accuracy", "low", "high", "usable bits"]


def test_a_report_of_an_earlier_release_without_measures_and_lengths_still_compares():
    old = {k: v for k, v in document(word()).to_document().items() if k not in ("measures", "facts", "name")}
    assert compare(QualityDocument.model_validate(old), document(word()), "old").findings == ()


def test_the_page_has_the_comparison_as_a_section():
    page, alone = full_page(), full_page(compared=False)
    assert "Warn before, fail now; findings: 3 new, 1 stronger, 1 gone, 11 unchanged." in page
    assert 'id="compare"' not in alone
    new = quality_document(NAME, COUNTS, MEASURES, BY_CHECK, facts())
    assert [c.change for c in compare(earlier_document(), new, "old").findings] == [
        "new", "new", "new", "stronger", "gone"
    ]  # fmt: skip


def test_a_report_of_a_later_release_keeps_the_keys_that_this_one_does_not_know():
    written = {"schema": 1, "verdict": "pass", "rows_in": 1, "findings": [], "newer": [1.5, None]}
    assert QualityDocument.model_validate(written).to_document() == written

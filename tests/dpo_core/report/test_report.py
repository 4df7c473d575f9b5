import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.report.documents import EvaluationEvidence
from dpo_core.report.figures import Point, round_marks, scatter
from dpo_core.report.lengths import length_bins
from dpo_core.report.markdown import artifact_key, quality_markdown
from dpo_core.report.numbers import number, percent
from dpo_core.report.quality import ADVICE, matters, quality_page, to_do
from dpo_core.report.results import FAMILIES, Evidence, Finding, Measure, Table
from dpo_core.report.retrain import retrain_page
from dpo_core.report.tables import shown
from dpo_core.report.text import marked
from tests.dpo_core.report import run_data
from tests.dpo_core.report.report_data import full_page

FACTS = {
    "rows_in": 3,
    "rows_kept": 2,
    "rows_quarantined": 1,
    "train_rows": 2,
    "eval_rows": 0,
    "format": "TRL",
    "encoding": {},
    "data_sha256": "abc",
    "files": {"train": "def"},
    "quarantine_reasons": {"chosen is null": 1},
    "dropped_columns": {},
    "tokenizer": "training tokenizer",
    "lengths": length_bins([3, 9], [4, 1], "tokens"),
    "versions": {"scipy": "1"},
}


def finding(severity, **more):
    return Finding("shortcut/word", severity, f"{severity} says so", **more)


def quality(findings=(), measures=(), verdict="pass"):
    outcomes = {m.check: "pass" for m in measures}
    return quality_page(name="d", verdict=verdict, findings=findings, measures=measures, by_check=outcomes, facts=FACTS)


def test_the_first_screen_shows_the_three_worst_findings_that_nobody_intended():
    found = [
        finding("warn"),
        finding("info"),
        finding("fail", intended=True),
        finding("fail"),
        finding("warn"),
        finding("warn"),
    ]
    assert [f.severity for f in matters(found)] == ["fail", "warn", "warn"]
    assert not any(f.intended for f in matters(found))


def test_one_feature_takes_one_place_on_the_first_screen():
    assert [
        f.severity
        for f in matters([finding("fail", feature="length"), finding("fail", feature="length"), finding("warn")])
    ] == [
        "fail",
        "warn",
    ]


@pytest.mark.parametrize("page", ["quality", "retrain"])
def test_a_page_needs_no_network(page, run):
    text = quality([finding("fail")], [Measure("shortcut/x", 1.0, 0.0, None, "s")]) if page == "quality" else run()
    assert not re.search(r"""src\s*=|url\(|@import|<script|<link|style\s*=""", text)
    assert "default-src 'none'" in text


def test_rows_of_the_data_cannot_write_html(run):
    evil = "<script>alert(1)</script>"
    rows = (Evidence("f:1", evil, evil),)
    assert evil not in quality(
        [finding("fail", feature=evil, statistics={"chosen_only": 3, "rejected_only": 0}, evidence=rows)]
    )
    assert evil not in run(answer=evil)


@pytest.mark.parametrize(
    "header", [("<script>", "low", "x"), ("a", "share", "low", "high"), ("a", "chosen", "rejected")]
)
def test_a_table_of_the_datas_words_cannot_write_html(header):
    evil = "<script>alert(1)</script>"
    row = (evil, *[0.5] * (len(header) - 1))
    page = quality([finding("fail", tables=(Table(evil, header, (row, row)),))])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.fixture
def run():
    """A retrain page of little content."""

    def page(verdict="promote", history=True, answer="yes", champion=None, not_promoted=""):
        mean = {"value": 1.0, "low": 0.5, "high": 1.0}
        steps = [
            {
                "step": n,
                "loss": 1.0 / n,
                "losses/dpo": 0.69,
                "losses/sft": 0.0,
                "logratios/chosen": n,
                "logratios/rejected": -n,
            }
            for n in (1, 2)
        ]
        document = {
            "verdict": verdict,
            "changed": True,
            "model": "m",
            "version": 1,
            "champion_version": 1,
            "not_promoted": not_promoted,
            "mlflow_run_id": "r",
            "weights_sha256": "w",
            "data_sha256": "d",
            "stages": [{"name": "check", "cached": True, "seconds": 0.1}],
            "reference": {"rows": 1, "hits": 0, "forwards": 1},
            "training": {"steps": 2, "first_dpo_loss": 0.6931472, "pairs_per_second": 1.0, "loss": "sigmoid"},
        }
        display = {
            "before_after": [
                {
                    "metric": "behaviour/x",
                    "reference": 0.0,
                    "challenger": 1.0,
                    "low": 0.5,
                    "high": 1.0,
                    "champion": champion,
                }
            ],
            "scores": "of these items",
            "drift": {"chosen_logratio": 1.0, "rejected_logratio": -1.0, "margin": 2.0},
            "gate": {
                "verdict": verdict,
                "reasons": ["because"],
                "baseline": "champion" if champion else "reference",
                "conditions": [],
                "notes": [],
            },
            "report": "q.html",
            "run_url": "sqlite:///m.db",
        }
        evidence = {
            "metrics": {},
            "means": {},
            "flips": {},
            "slices": {"a": {"rewards/accuracies": mean, "rewards/margins": mean}},
            "samples": [{"prompt": "p", "reference": "no", "challenger": answer}],
            "checks": {
                "behaviour/x": [{"prompt": "p", "source": "s", "reference": "no", "challenger": answer, "passes": True}]
            },
        }
        found = EvaluationEvidence.model_validate(evidence)
        return retrain_page(document, display, steps if history else [], found, run_data.FACTS)

    return page


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        ("promote", "promoted"),
        ("hold_no_gain", "held"),
        ("hold_underpowered", "held"),
        ("reject_regression", "rejected"),
    ],
)
def test_the_gates_verdict_is_the_headline(run, verdict, word):
    assert re.search(rf'<p class="verdict [a-z-]+">{word}</p>', run(verdict))


def test_a_version_that_was_not_promoted_though_the_gate_says_so_is_not_called_promoted(run):
    page = run(not_promoted="version 3 is champion now")
    assert re.search(r'<p class="verdict [a-z-]+">held</p>', page)
    assert "The gate says promote, but version 3 is champion now." in page
    assert "promoted</p>" not in page


def test_what_it_was_measured_against_is_named(run):
    assert "It was measured against the reference: the base model" in run()
    assert "It was measured against the champion before it." in run(champion=0.5)


def test_a_champion_gets_a_column_of_its_own(run):
    assert '<th scope="col" class="n">champion</th>' in run(champion=0.5)
    assert '<th scope="col" class="n">champion</th>' not in run()


def test_a_run_without_history_says_so(run):
    assert "nothing was recorded" in run(history=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (0.0, "0"), (0.12345, "0.1235"), (1e-5, "1.00e-05"), ("x", "x"), (2.0, "2")],
)
def test_numbers_read_well(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.5, "50.0 %"), (0.0048, "0.48 %"), (0.00048, "0.048 %")]
)
def test_a_small_share_keeps_its_digits(value, text):
    assert percent(value) == text


def test_lengths_are_counted_into_round_bins_whose_last_holds_the_tail():
    bins = length_bins([1, 2, 500], [0, 3, 3], "words")
    assert bins["edges"][:2] == [0, 20]  # 99 % lie below 476: 30 bins need a width of 16, and 20 is the next round one
    assert bins["chosen"] == [2, *[0] * 22, 1]
    assert bins["edges"][-1] == 501
    assert bins["median"] == {"chosen": 2.0, "rejected": 3.0}


@given(st.lists(st.integers(0, 10**6), max_size=50), st.lists(st.integers(0, 10**6), max_size=50))
def test_no_length_falls_out_of_the_bins(chosen, rejected):
    bins = length_bins(chosen, rejected, "tokens")
    assert (sum(bins["chosen"]), sum(bins["rejected"])) == (len(chosen), len(rejected))
    assert len(bins["chosen"]) == len(bins["edges"]) - 1 <= 32


def test_a_million_lengths_and_hundreds_of_findings_make_a_page_below_a_megabyte():
    many = [
        finding("warn", feature=f"word 'w{n}'", statistics={"purity_low": 0.9, "coverage": 0.1}) for n in range(900)
    ]
    rows = tuple(Evidence("f:1", "a" * 120, "b" * 120) for _ in range(3))
    table = Table("strata", ("source", "accuracy", "low", "high"), tuple((f"s{n}", 0.5, 0.4, 0.6) for n in range(5000)))
    page = quality([replace(f, evidence=rows, tables=(table,)) for f in many])
    assert len(page) < 1_000_000
    assert "860 others are in quality.json only" in page
    assert "4,940 more rows are in quality.json" in page


@pytest.mark.parametrize(
    ("header", "rows", "drawn"),
    [
        (("source", "accuracy", "low", "high"), (("a", 0.6, 0.5, 0.7), ("b", 0.4, 0.3, 0.5)), "rows intervals"),
        (("language", "chosen", "rejected"), (("de", 3, 4), ("fr", 1, 2)), "rows sides"),
        (("source", "only in chosen", "only in rejected", "z"), (("a", 3, 4, 0.1), ("b", 1, 2, 0.1)), "rows sides"),
        (("source", "before", "after"), (("a", 0.1, 0.2), ("b", 0.9, 0.8)), "rows changes"),
        (("topic", "last accepted", "now"), (("a", 0.1, 0.2), ("b", 0.9, 0.8)), "rows changes"),
        (("planted", "pairs each", "planted", "found"), (("a word", 20, 8, 7), ("b", 10, 8, 8)), "rows parts"),
        (("source", "pairs"), (("a", 1), ("b", 2)), None),
    ],
)
def test_a_tables_header_decides_how_it_is_drawn(header, rows, drawn):
    chart = shown(Table("t", header, rows)).chart
    assert (f'class="{drawn}"' in chart) if drawn else not chart


def test_an_interval_lies_where_its_numbers_are_and_a_coin_is_marked():
    # The scale runs from 0.4 to 0.6 over the middle 94 % of the width: 0.5 is at 50 %, 0.6 at 97 %.
    chart = shown(Table("t", ("probe", "accuracy", "low", "high"), (("a", 0.5, 0.4, 0.6),))).chart
    assert '<line class="reference" x1="50.00%"' in chart
    assert 'x1="3.00%" x2="97.00%"' in chart
    assert 'cx="50.00%"' in chart


def test_numbers_that_are_none_are_left_out_of_a_chart_and_shown_as_a_dash():
    table = shown(
        Table("t", ("a", "accuracy", "low", "high"), (("x", math.nan, math.nan, math.nan), ("y", 0.5, 0.4, 0.6)))
    )
    assert table.chart.count("<li>") == 1
    assert table.rows[0] == ("x", "-", "-", "-")


def test_the_scatter_puts_a_feature_inside_the_region_of_its_verdict():
    # Coverage 2 % and purity .9 is the corner of the failing region; 10 % of all pairs is two thirds of the axis.
    text = scatter([Point(1, "word", 0.1, 0.95, "fail")])
    assert 'cx="65.67%"' in text  # 7 + 88 * 2 / 3
    assert 'points="45.16,' in text.split('polygon class="fail"')[1]  # 7 + 88 * log10(0.02 / 0.001) / 3


@pytest.mark.parametrize(
    ("text", "marks", "html"),
    [
        ("Great, great", ("great",), "<mark>Great</mark>, <mark>great</mark>"),
        ("a<b>", ("<b>",), "a<mark>&lt;b&gt;</mark>"),
        ("end \n", (), 'end<mark class="unseen" title="2 blank characters">␣↵</mark>'),
        ("a\u200bb", (), 'a<mark class="unseen">U+200B</mark>b'),
        ("naïve 日本", ("日",), "naïve <mark>日</mark>本"),
    ],
)
def test_words_that_matter_are_highlighted_and_what_no_eye_sees_is_shown(text, marks, html):
    assert marked(text, marks) == html


def test_a_page_is_told_from_its_first_screen_to_its_digests_in_order():
    page = full_page(compared=True)
    places = [
        page.index(part)
        for part in (
            "Data quality report", 'class="verdict fail">fail', "What matters most", "What to do",
            'aria-label="Sections"',
            'id="compare"', *(f'<section id="{family}"' for family in FAMILIES), "Power and limits", "In quarantine",
            "What was looked at",
        )
    ]  # fmt: skip
    assert places == sorted(places)


def test_a_page_that_passes_says_so_and_what_comes_next():
    page = quality([], [Measure("structure/x", 0.0, 0.0, 0.1, "s")])
    assert "No check warns and none fails." in page
    assert "dpo retrain RUN.yaml" in page
    assert "not looked at" in page  # the families without a check


@pytest.mark.parametrize(
    ("findings", "measures", "summary"),
    [
        ((), (), "not looked at"),
        (("unasked",), (), "not looked for"),
        (("unasked",), ("leakage/benchmark_x",), "nothing found, not all looked for"),
        ((), ("leakage/prompt_overlap",), "nothing found"),
        (("warn",), ("leakage/prompt_overlap",), "1 warn"),
    ],
)
def test_nothing_found_is_said_only_where_something_was_looked_for(findings, measures, summary):
    made = {
        "unasked": Finding("leakage/prompt_overlap", "info", "there are no held-out pairs", looked_for=False),
        "warn": Finding("leakage/prompt_overlap", "warn", "3 of 5"),
    }
    page = quality([made[name] for name in findings], [Measure(name, 0.0, 0.0, None, "s") for name in measures])
    assert re.search(r'<a href="#leakage"><b>Leakage</b><span class="\w+">([^<]+)<', page)[1] == summary
    assert ("no held-out pairs" in page) == ("unasked" in findings)


@pytest.mark.parametrize("family", ADVICE)
@pytest.mark.parametrize("severity", ["warn", "fail"])
def test_a_familys_advice_is_given_where_it_has_a_finding_that_counts_and_nowhere_else(family, severity):
    counting = Finding(f"{family}/x", severity, "says")
    assert to_do(severity, [counting])[:-1] == [ADVICE[family]]
    assert to_do(severity, matters([replace(counting, intended=True)]))[:-1] == []


@pytest.mark.parametrize(
    ("verdict", "sentence", "last"),
    [
        ("pass", "Nothing in this data separates the sides", "Train on it: dpo retrain RUN.yaml."),
        ("warn", "Something in it deserves a look first.", "Then train on it: dpo retrain RUN.yaml."),
        ("fail", "Do not train on this data as it is", "Run dpo check again with --compare on this report"),
    ],
)
def test_a_verdicts_sentence_and_what_to_do_last_are_its_own(verdict, sentence, last):
    page = quality([finding(verdict)] if verdict != "pass" else [], verdict=verdict)
    assert sentence in page
    assert last in to_do(verdict, [])[-1]
    assert ("rain on it: dpo retrain" in page) == (verdict != "fail")


def test_a_probes_measure_is_named_as_the_lower_bound_that_it_is():
    page = quality([], [Measure("shortcut/probe_length", 0.47, 0.6, 0.7, "s")])
    assert "probe length, lower bound of its accuracy" in page


def test_what_was_dropped_stands_in_the_headline_and_among_the_counts(monkeypatch):
    monkeypatch.setitem(FACTS, "rows_dropped", 93)
    page = quality()
    assert "93 pairs were dropped by validation.on_shortcut" in page
    assert "<dt>dropped by on_shortcut</dt><dd>93</dd>" in page


def test_words_of_the_data_become_no_markdown(tmp_path):
    document = {"verdict": "fail", "rows_in": 3, "rows_kept": 2, "rows_quarantined": 1, "rows_dropped": 0}
    document["findings"] = [finding("fail", feature="x").to_document() | {"says": "a | b ![i](http://x) <img>"}]
    text = quality_markdown("my_data", document, {"MLflow run": "https://host/run", "report": "/tmp/q.html"})
    assert text.startswith("# Fail: data quality of my\\_data\n")
    assert r"| fail | shortcut/word | a \| b \!\[i\]\(http://x\) &lt;img&gt; |" in text
    assert "- MLflow run: [https://host/run](https://host/run)" in text
    assert "- report: `/tmp/q.html`" in text


@pytest.mark.parametrize(
    ("name", "key"),
    [("Athene", "dq-report-athene"), ("my_data v2!", "dq-report-my-data-v2"), ("日本", "dq-report-data")],
)
def test_an_artifact_key_has_only_what_prefect_takes(name, key):
    assert artifact_key(name) == key


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 3.3, [0, 1, 2, 3]),
        (-14.1, 28.0, [-10, 0, 10, 20]),
        (0.0, 0.6931, [0, 0.2, 0.4, 0.6]),
        (-5e4, 0.0, [-40000, -20000, 0]),
        (0.0, 0.0, [0]),
    ],
)
def test_a_curves_axis_is_marked_at_round_numbers(low, high, marks):
    assert round_marks(low, high) == marks

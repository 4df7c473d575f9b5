import re

import pytest

from dpo_core.report.lengths import length_bins
from dpo_core.report.numbers import number
from dpo_core.report.quality import matters, quality_page
from dpo_core.report.results import Evidence, Finding, Measure
from dpo_core.report.retrain import retrain_page

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
    assert not re.search(r"""src\s*=|href\s*=\s*"(?!#)|url\(|@import|<script|<link|style\s*=""", text)
    assert "default-src 'none'" in text


def test_rows_of_the_data_cannot_write_html(run):
    evil = "<script>alert(1)</script>"
    rows = (Evidence("f:1", evil, evil),)
    assert evil not in quality(
        [finding("fail", feature=evil, statistics={"chosen_only": 3, "rejected_only": 0}, evidence=rows)]
    )
    assert evil not in run(answer=evil)


@pytest.fixture
def run():
    """A retrain page of little content."""

    def page(verdict="promote", history=True, answer="yes", champion=None):
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
            "mlflow_run_id": "r",
            "weights_sha256": "w",
            "data_sha256": "d",
            "stages": [{"name": "check", "cached": True, "seconds": 0.1}],
            "reference": {"rows": 1, "hits": 0, "forwards": 1},
            "training": {"steps": 2, "first_dpo_loss": 0.6931472, "pairs_per_second": 1.0},
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
            "drift": {"chosen_logratio": 1.0, "rejected_logratio": -1.0, "margin": 2.0},
            "gate": {"verdict": verdict, "reasons": ["because"], "baseline": "champion" if champion else "reference"},
            "report": "q.html",
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
        return retrain_page(document, display, steps if history else [], evidence)

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


def test_a_champion_gets_a_column_of_its_own(run):
    assert '<th class="n">champion</th>' in run(champion=0.5)
    assert '<th class="n">champion</th>' not in run()


def test_a_run_without_history_says_so(run):
    assert "nothing was recorded" in run(history=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (0.0, "0"), (0.12345, "0.1235"), (1e-5, "1.00e-05"), ("x", "x"), (2.0, "2")],
)
def test_numbers_read_well(value, text):
    assert number(value) == text

"""`dpo gate`: the verdict on a file of scores; every mistake in it has a place and a remedy."""

import json
from pathlib import Path

import pytest

from flows.cli.app import run

ROOT = Path(__file__).parents[2]
RULES = "improve: []\nkeep: {behaviour/x: 0.1}\n"


def item(i, challenger=1.0, baseline=1.0, **more):
    return {"metric": "behaviour/x", "item": f"q{i}", "challenger": challenger, "baseline": baseline, **more}


@pytest.fixture
def gate(tmp_path, monkeypatch, capsys):
    """Judge these lines by these rules: exit code and document."""
    monkeypatch.chdir(tmp_path)

    def judge(lines, rules=RULES, *options):
        text = lines if isinstance(lines, str) else "\n".join(json.dumps(line) for line in lines)
        (tmp_path / "s.jsonl").write_text(text)
        (tmp_path / "r.yaml").write_text(rules)
        code = run(["gate", "s.jsonl", "--rules", "r.yaml", "--json", *options])
        return code, json.loads(capsys.readouterr().out)

    return judge


def test_scores_that_hold_are_promoted_with_the_evidence_of_each_condition(gate):
    code, document = gate([item(i) for i in range(100)])
    [condition] = document["conditions"]
    assert (code, document["schema"], document["verdict"]) == (0, 1, "promote")
    assert list(condition)[:17] == [
        *("metric", "rule", "verdict", "difference", "low", "high", "items", "clusters", "left_out", "won", "lost"),
        *("p", "alpha", "detectable", "items_needed", "says", "against"),
    ]
    assert (condition["alpha"], condition["difference"], condition["items"]) == (0.05, 0.0, 100)


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ([item(i) for i in range(19)], "hold_underpowered"),
        ([item(i, challenger=float(i < 50)) for i in range(100)], "reject_regression"),
        ([item(i, cluster="one") for i in range(100)], "hold_underpowered"),
    ],
)
def test_what_is_not_promoted_exits_with_four(gate, lines, verdict):
    code, document = gate(lines)
    assert (code, document["verdict"]) == (4, verdict)


def test_all_equal_is_no_gain(gate):
    code, document = gate([item(i) for i in range(100)], "improve: [behaviour/x]\n")
    assert (code, document["verdict"]) == (4, "hold_no_gain")


def test_no_condition_is_added_and_metrics_that_no_rule_names_are_passed_over(gate):
    lines = [item(i) for i in range(100)] + [{**item(1), "metric": "other", "challenger": 0.0}]
    assert [c["metric"] for c in gate(lines)[1]["conditions"]] == ["behaviour/x"]


def test_a_limit_on_shortcuts_is_asked_of_every_metric_of_one(gate):
    more = [{**item(i, challenger=0.2, baseline=0.5), "metric": "uptake/longer"} for i in range(100)]
    lines = [item(i) for i in range(100)] + more
    assert [c["metric"] for c in gate(lines)[1]["conditions"]] == ["behaviour/x"]
    code, document = gate(lines, f"{RULES}uptake: 0.6\n")
    assert (code, document["verdict"]) == (4, "reject_regression")
    assert [(c["metric"], c["rule"]) for c in document["conditions"]] == [
        ("behaviour/x", "keep"),
        ("uptake/longer", "uptake"),
    ]


@pytest.mark.parametrize(
    "rules",
    [
        RULES,
        "gate:\n  keep: {behaviour/x: 0.1}\n",
        "name: a\nmodel: m\ndata: {train: x}\ngate: {keep: {behaviour/x: 1e-1}}\n",
    ],
)
def test_rules_are_a_section_or_stand_in_a_recipe(gate, rules):
    code, document = gate([item(i) for i in range(100)], rules)
    assert (code, [c["rule"] for c in document["conditions"]]) == (0, ["keep"])


def test_an_anchor_in_the_lines_is_kept_against(gate):
    _, document = gate([item(i, anchor=float(i < 90)) for i in range(100)])
    assert [c["against"] for c in document["conditions"]] == ["baseline", "anchor"]


def test_looks_are_tried_and_nothing_is_spent(gate):
    lines = [item(i, baseline=float(i >= 5)) for i in range(50)]
    alphas = [
        gate(lines, "improve: [behaviour/x]\n", *more)[1]["conditions"][0]["alpha"] for more in ((), ("--looks", "52"))
    ]
    assert alphas == [0.05, pytest.approx(0.0046, abs=1e-4)]


def test_cases_are_many_gates_in_one_call(gate):
    lines = [item(i, case=case, challenger=float(case != "b")) for case in ("a", "b", 3) for i in range(60)]
    code, document = gate(lines)
    assert code == 0
    verdicts = {name: case["verdict"] for name, case in document["cases"].items()}
    assert verdicts == {"a": "promote", "b": "reject_regression", "3": "promote"}


GOOD = [item(i) for i in range(30)]
BAD = {
    "no number": ([*GOOD, item(30, challenger=float("nan"))], "s.jsonl:31, field challenger", "no finite number"),
    "infinite": ([item(0, baseline=float("inf"))], "s.jsonl:1, field baseline", "no finite number"),
    "too large": ([item(0, challenger=10**400)], "s.jsonl:1, field challenger", "too large"),
    "text": ([item(0, challenger="1.0")], "s.jsonl:1, field challenger", "which is no number"),
    "true": ([item(0, challenger=True)], "s.jsonl:1, field challenger", "which is no number"),
    "one side only": (
        [*GOOD, {**item(30), "baseline": None}],
        "s.jsonl:31, field baseline",
        "only items scored for both",
    ),
    "no item": (
        [{"metric": "behaviour/x", "challenger": 1.0, "baseline": 1.0}],
        "s.jsonl:1, field item",
        "has no 'item'",
    ),
    "no metric": ([{"item": "a", "challenger": 1.0, "baseline": 1.0}], "s.jsonl:1, field metric", "has no 'metric'"),
    "twice": ([*GOOD, item(3)], "s.jsonl:31", "'q3' of behaviour/x stands twice: in line 4 and here"),
    "missing items": ([{**item(0), "metric": "y"}], "s.jsonl", "of which there is no item"),
    "missing in a case": (
        [*[item(i, case="a") for i in range(3)], {**item(0, case="b"), "metric": "y"}],
        "s.jsonl, case b",
        "of which there is no item",
    ),
    "some cases": ([item(0, case="a"), item(1)], "s.jsonl:2", "some lines have a `case`"),
    "some anchors": ([item(0, anchor=1.0), item(1)], "s.jsonl:2", "on some items"),
    "misspelt": ([item(0, clusters="a")], "s.jsonl:1", "unknown key 'clusters'"),
    "no JSON": ("{", "s.jsonl:1", "not a line of JSON"),
    "no object": ("[1]", "s.jsonl:1", "is a JSON object"),
    "nothing": ("\n", "s.jsonl", "no scores in the file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_scores_are_refused_with_place_and_remedy(gate, name):
    lines, where, says = BAD[name]
    code, document = gate(lines)
    assert code == 2
    assert says in document["error"]["says"]
    assert document["error"]["where"] == where
    assert document["error"]["do"]


BAD_RULES = {
    "improve: []\n": ("r.yaml, key gate", "no metric is named"),
    "": ("r.yaml", "a mapping"),
    "[a]": ("r.yaml", "a mapping"),
    "improve: [a, a]\n": ("r.yaml:1, key gate.improve", "a stands twice"),
    "improve: [a]\nalpha: 0\n": ("r.yaml:2, key gate.alpha", "greater than 0"),
    "improve: [a]\nalpha: 1\n": ("r.yaml:2, key gate.alpha", "less than 0.5"),
    "keep:\n  behaviour/x: .inf\n": ("r.yaml:2, key gate.keep.behaviour/x", "finite number"),
    "keep:\n  behaviour/x: .nan\n": ("r.yaml:2, key gate.keep.behaviour/x", "finite number"),
    "keep:\n  behaviour/x: -0.1\n": ("r.yaml:2, key gate.keep.behaviour/x", "greater than or equal to 0"),
    "keep: {behaviour/x: 1.5}\n": ("r.yaml, key gate", "allows any loss"),
    "floor: {behaviour/x: 1}\n": ("r.yaml, key gate", "can never be shown"),
    "gate: {improve: [a]}\nkeep: {b: 0.1}\n": ("r.yaml:2", "stands beside `gate:`"),
    "keep: {a: 0.1}\nkeep: {a: 0.2}\n": ("r.yaml:2", "stands twice"),
    "improv: [a]\n": ("r.yaml:1, key gate.improv", "unknown key 'improv'"),
    "gate: []\n": ("r.yaml:1, key gate", "gate"),
    "keep: {behaviour/x: 0.1}\nanchor: 1\n": ("s.jsonl", "no score of it"),
}


@pytest.mark.parametrize("rules", BAD_RULES)
def test_bad_rules_are_refused_with_place_and_remedy(gate, rules):
    where, says = BAD_RULES[rules]
    code, document = gate(GOOD, rules)
    assert code == 2
    assert says in document["error"]["says"]
    assert document["error"]["where"] == where
    assert document["error"]["do"]


def test_files_that_are_not_there_are_named(gate, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(RULES)
    assert run(["gate", "none.jsonl", "--rules", "r.yaml"]) == 2
    assert run(["gate", "none.jsonl", "--rules", "none.yaml"]) == 2
    shown = capsys.readouterr().err
    assert "no such file of scores" in shown
    assert "no such file of rules" in shown


def test_people_see_every_condition(gate, tmp_path, capsys):
    gate([item(i, challenger=float(i < 50)) for i in range(100)], "improve: [behaviour/x]\nfloor: {behaviour/x: 0.3}\n")
    assert run(["gate", "s.jsonl", "--rules", "r.yaml"]) == 4
    shown = capsys.readouterr().out
    assert "REJECTED: something got worse" in shown
    assert "fails" in shown
    assert "holds" in shown


def test_the_page_on_promotion_shows_a_line_and_rules_that_are_read(gate):
    text = (ROOT / "docs" / "promotion.md").read_text().partition("## Scores of your own")[2]
    line = json.loads(text.partition("```json\n")[2].partition("```")[0])
    rules = text.partition("```yaml\n")[2].partition("```")[0]
    metrics = (line["metric"], "retention/facts")
    lines = [{**line, "metric": m, "item": f"q{i}", "cluster": f"p{i}"} for i in range(80) for m in metrics]
    code, document = gate(lines, rules)
    assert (code, [c["rule"] for c in document["conditions"]]) == (0, ["improve", "keep"])

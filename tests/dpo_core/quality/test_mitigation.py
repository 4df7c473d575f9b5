"""Dropping and weighing pairs until rules no longer separate the sides."""

import numpy as np
import pytest

from dpo_core.quality.check import Facts
from dpo_core.quality.checks import sources
from dpo_core.quality.examine import SEPARATION, examine, tables_of
from dpo_core.quality.features.feature_tests import separate
from dpo_core.quality.features.ngrams import Feature
from dpo_core.quality.shortcuts import mitigation
from dpo_core.quality.shortcuts.mitigation import (
    Rule,
    _even,
    balance,
    drop,
    evened_out,
    mitigate,
    rule_columns,
    softened,
    subset,
)
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure
from tests.dpo_core.quality import planted
from tests.dpo_core.quality.quality_data import make_pair, separated
from tests.dpo_core.quality.test_declared import against_refusals


def mitigated(pairs, how, **options):
    validation = Validation(**options)
    table, grams = tables_of(pairs, validation)
    return mitigate(table, grams, validation, None, lambda rules: rule_columns(pairs, rules)["rules"], how)


def failing(pairs, kept):
    validation = Validation()
    table, grams = subset(*tables_of(pairs, validation), kept)
    findings = examine(Facts(table, grams), validation, SEPARATION).findings
    return {finding.feature or finding.check for finding in findings if finding.severity == "fail"}


def test_drop_takes_the_surplus_of_one_side_and_no_more():
    d = np.array([[1]] * 60 + [[-1]] * 40 + [[0]] * 100, dtype=np.int8)
    kept = drop(d, np.arange(200))
    # |s| <= n^.5 / 2 at the earliest: 44 against 40 (4 <= 84^.5 / 2 = 4.6)
    assert (len(kept), int(d[kept].sum())) == (200 - 16, 4)


def test_drop_takes_first_what_pushes_two_rules():
    both, one, other = [1, 1], [1, 0], [0, 1]
    d = np.array([both] * 20 + [one] * 20 + [other] * 20, dtype=np.int8)
    kept = drop(d, np.arange(60))
    assert np.abs(d[kept].sum(axis=0)).max() == 0


def test_drop_keeps_or_takes_the_pairs_of_a_prompt_together():
    rng = np.random.default_rng(0)
    d = rng.choice(np.array([-1, 1], dtype=np.int8), p=[0.3, 0.7], size=(300, 1))
    clusters = np.arange(300) // 3
    kept = drop(d, clusters)
    assert set(np.bincount(clusters[kept], minlength=100)) == {0, 3}
    assert abs(d[kept].sum()) <= 0.5 * len(kept) ** 0.5


def test_weights_make_every_rule_even_and_differ_by_prompt_only():
    rng = np.random.default_rng(1)
    d = np.stack([rng.choice([-1, 0, 1], p=p, size=900) for p in ([0.1, 0.6, 0.3], [0.25, 0.6, 0.15])], axis=1)
    clusters = np.arange(900) // 3
    weights = balance(d.astype(np.int8), clusters)
    assert weights @ d / 900 == pytest.approx([0, 0], abs=1e-3)
    assert weights.mean() == pytest.approx(1)
    assert np.ptp(weights.reshape(300, 3), axis=1).max() == 0


def test_weights_of_one_rule_are_those_by_hand():
    # 75 : 25 even out at e^(2l) = 25/75: the weights are 1/3 : 1 of each other
    d = np.array([[1]] * 75 + [[-1]] * 25, dtype=np.int8)
    weights = balance(d, np.arange(100))
    assert weights[0] / weights[-1] == pytest.approx(1 / 3, rel=1e-3)


@pytest.mark.parametrize("how", ["drop", "balance"])
def test_a_planted_word_that_is_never_broken_is_dropped_with_its_pairs(how):
    pairs = planted.word(0, 0.05)
    result = mitigated(pairs, how)
    assert len(pairs) - len(result.kept) == 50
    assert failing(pairs, result.kept) == set()
    assert ("word 'zebra'", "50 : 0", 0.525, "0 : 0", 0.5) in result.finding.tables[0].rows


def test_a_length_that_decides_is_weighed_out_without_dropping_a_pair():
    pairs = planted.length(0)
    result = mitigated(pairs, "balance")
    longer = np.sign([len(p.pair.chosen[0]["content"]) - len(p.pair.rejected[0]["content"]) for p in pairs])
    assert len(result.kept) == len(pairs)
    assert abs(result.weights @ longer) / len(pairs) < 0.02
    assert 300 < result.finding.statistics["pairs_effective"] < 1300


def test_dropping_evens_the_length_out_and_says_what_it_cost():
    pairs = planted.length(0)
    result = mitigated(pairs, "drop")
    assert failing(pairs, result.kept) == set()
    assert np.all(result.weights == 1)
    assert result.finding.statistics["pairs_kept"] == len(result.kept)
    assert f"{len(pairs) - len(result.kept)} of {len(pairs)} pairs were dropped" in result.finding.says


def test_a_declared_aim_is_left_and_data_without_a_rule_are_untouched():
    assert mitigated(planted.word(0, 0.05), "drop", intended=["zebra"]) is None
    assert mitigated(planted.null(0), "drop") is None


def test_rules_are_looked_up_in_pairs_as_they_were_found():
    pairs = [make_pair("p", "Sure, foo bar ends", "no bar foo  "), make_pair("q", "a", "a b!")]
    rules = [
        Rule(Feature("word", "sure")),
        Rule(Feature("first_word", "sure")),
        Rule(Feature("last_word", "ends")),
        Rule(Feature("word_pair", "foo bar")),
        Rule(Feature("property", "trailing whitespace")),
        Rule(Feature("amount", "words")),
        Rule(Feature("word", "bar")),
    ]
    assert rule_columns(pairs, rules)["rules"].tolist() == [[1, 1, 1, 1, -1, 1, 0], [0, 0, 0, 0, 0, -1, 0]]


def evened(pairs, measures, findings):
    """What is left of what was measured and found, weights given."""
    validation = Validation()
    separation = separate(*tables_of(pairs, validation))
    return evened_out(measures, findings, mitigated(pairs, "balance"), separation, validation)


def severities(results):
    measures, findings = results
    limits = {m.check: m.fail_above for m in measures if m.fail_above is not None}
    return {f.check for f in findings if f.severity == "fail"}, limits


def test_rules_that_weights_even_out_are_shown_and_no_longer_gate():
    pairs = planted.length(0)
    before = separated(pairs, Validation())
    assert "balance/length_words" in severities(before)[0]
    failed, limits = severities(evened(pairs, *before))
    assert failed == set()
    assert limits == {"shortcut/failing_in_strata": 0, "shortcut/failing_features": 0}


def uneven():
    """The longer answer wins in 17 of the 20 pairs of each prompt: no prompt can be weighed against another."""
    rng = np.random.default_rng(2)
    for number in range(600):
        sides = ["x y " * int(rng.integers(20, 40)), "x y " * int(rng.integers(2, 20))]
        yield make_pair(f"prompt {number // 20}", *(sides if number % 20 < 17 else sides[::-1]))


def test_a_rule_that_no_weights_of_whole_prompts_make_even_keeps_gating():
    pairs = list(uneven())
    before = separated(pairs, Validation())
    result = mitigated(pairs, "balance")
    assert (len(result.kept), np.ptp(result.weights)) == (600, 0)
    assert [rule.feature.name for rule in result.standing] == ["words", "characters"]
    assert "Weights of whole prompts do not even out words, characters" in result.finding.says
    after = evened(pairs, *before)
    assert severities(after) == severities(before)
    assert {"balance/length_words", "balance/length_characters"} <= severities(after)[0]


def test_a_length_that_a_declared_kind_hides_over_all_pairs_keeps_gating_where_it_is_not_even():
    pairs = against_refusals()
    result = mitigated(pairs, "balance", intended=["refusal"])
    assert {"words", "characters"} <= {rule.feature.name for rule in result.standing}


def test_weights_that_leave_half_a_standard_error_are_even_and_those_that_leave_more_are_not():
    # prompts of 2, 1 and 1 pairs: their sums are 2, -1, and 1; half a standard error is 6^.5 / 2 = 1.22
    d, clusters = np.array([[1], [1], [-1], [1]], dtype=np.int8), np.array([0, 0, 1, 2])
    found = [_even(d, clusters, np.array([1, 1, w, 1.0]))[0] for w in (1.0, 2.0)]  # then 1 against 1.5
    assert found == [False, True]


def test_weights_of_no_pair_are_none():
    assert balance(np.zeros((0, 2), dtype=np.int8), np.zeros(0, dtype=np.int64)).tolist() == []


def test_a_source_of_too_many_pairs_fails_where_shortcuts_are_let_pass_too():
    shares = [f"balance/{name}" for name in ("source", "length")]
    measures = [Measure(name, 0.9, None, 0.5, "") for name in shares]
    measures, findings = softened(measures, [Finding(name, "fail", "") for name in shares])
    assert [(m.warn_above, m.fail_above) for m in measures] == [(None, 0.5), (0.5, None)]
    assert [f.severity for f in findings] == ["fail", "warn"]
    assert sources.CHECK.name == mitigation.SOURCES


def test_what_would_fail_warns_where_shortcuts_are_let_pass():
    pairs = planted.word(0, 0.05)
    measures, findings = softened(*separated(pairs, Validation()))
    assert {m.check: m.warn_above for m in measures}["shortcut/failing_features"] == 0
    assert {f.severity for f in findings if f.feature == "word 'zebra'"} == {"warn"}
    assert severities((measures, findings)) == (set(), {})

"""The planted cases of the reference study, each with the verdict that it must get (N and O: test_examine)."""

import numpy as np
import pytest

from dpo_core.data.pairs import text_of
from dpo_core.quality.examine import tables_of
from dpo_core.quality.shortcuts.filter_steps import FilterStep, check_filter_steps
from dpo_core.recipe import Validation
from tests.dpo_core.quality import planted
from tests.dpo_core.quality.quality_data import separated


def examined(pairs, **options):
    return separated(pairs, Validation(**options))


def gating(pairs, **options):
    """{feature or check: severity} of what warns or fails; the probe and folded pairs of words left out."""
    return {f.feature or f.check: f.severity for f in examined(pairs, **options)[1] if f.severity != "info"}


def failing(pairs):
    return {feature for feature, severity in gating(pairs).items() if severity == "fail"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [planted.null, planted.best_of, planted.ranked, planted.styled, planted.clustered])
def test_a_and_g_null_sets_raise_no_alarm_even_where_pairs_share_prompts_and_answers(make, seed):
    assert failing(make(seed)) == set()


def test_b_a_pure_word_in_two_percent_of_a_thousand_pairs_warns_and_in_five_fails():
    assert gating(planted.word(0, 0.02))["word 'zebra'"] == "warn"
    assert gating(planted.word(0, 0.05))["word 'zebra'"] == "fail"


def test_b2_a_word_chosen_nine_times_of_ten_in_two_percent_of_two_thousand_pairs_warns():
    assert gating(planted.word(1, 0.03, count=2000, purity=0.9))["word 'zebra'"] == "warn"


def test_c_where_only_length_differs_only_length_fails():
    found = gating(planted.length(0))
    assert found.pop("length") == "fail"
    assert found.pop("shortcut/probe") in ("warn", "fail")
    assert found == {}


def test_c2_a_word_inside_such_data_is_named():
    found = gating(planted.length(0, plant="zebra"))
    assert found["length"] == "fail"
    assert found["word 'zebra'"] in ("warn", "fail")
    assert {feature for feature in found if feature.startswith("word")} == {"word 'zebra'"}


def test_d_the_order_of_two_words_is_found_by_pairs_of_words_alone():
    assert gating(planted.order(0)) == {"word pair 'foo bar'": "fail", "word pair 'bar foo'": "fail"}


def test_e_a_word_that_comes_first_on_one_side_only_is_found_by_its_place():
    assert gating(planted.position(0)) == {"first word 'sure'": "fail", "affirmative opening": "fail"}


def test_f_a_space_after_rejected_answers_fails():
    assert gating(planted.trailing_space(0)) == {"trailing whitespace": "fail", "shortcut/probe": "fail"}


def test_h_a_word_that_turns_round_with_the_type_of_prompt_fails_by_strata_alone():
    _, findings = examined(planted.conditional(0))
    found = [finding for finding in findings if finding.severity != "info"]
    assert [(finding.check, finding.feature, finding.severity) for finding in found] == [
        ("shortcut/stratum", "word 'zebra'", "fail")
    ]
    assert abs(found[0].statistics["z_pooled"]) < 3 < abs(found[0].statistics["z"])
    strata = found[0].tables[0].rows
    assert strata[0][-1] > 5
    assert strata[-1][-1] < -5


def test_k_answers_cut_before_their_end_fail():
    found = gating(planted.truncated(0))
    assert found["ends with punctuation"] == "fail"


def test_l_a_diffuse_style_is_seen_by_the_probe_and_fails_nothing():
    measures, findings = examined(planted.diffuse(0))
    severities = {f.check: f.severity for f in findings}
    assert severities["shortcut/probe"] == "warn"
    assert "fail" not in severities.values()
    assert {m.check: m.value for m in measures}["shortcut/probe_words"] > 0.6


def test_m_a_filter_on_the_chosen_side_alone_is_named():
    pairs = planted.before_filter(0)
    table, _ = tables_of(pairs, Validation())
    parity = np.arange(len(pairs)) % 10 > 0
    long = parity & np.array([len(text_of(pair.pair.chosen)) >= 100 for pair in pairs])
    steps = [FilterStep("drop every tenth", parity), FilterStep("len(chosen) >= 100", long)]
    findings = check_filter_steps(table, steps, Validation())
    assert [finding.feature for finding in findings] == ["len(chosen) >= 100"]
    assert "makes a shortcut" in findings[0].says
    left = [pair for pair, stays in zip(pairs, long, strict=True) if stays]
    assert gating(left)["length"] in ("warn", "fail")

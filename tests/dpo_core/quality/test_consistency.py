"""Rows that repeat or contradict others."""

from dataclasses import replace

import numpy as np
import pytest

from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.quality.checks import consistency, duplicates
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import (
    answer,
    as_pairs,
    make_pair,
    measured,
    null_texts,
    run_check,
    severities,
    through_a_file,
)


def checked(pairs, **limits):
    """Measures and findings of duplicates, then of contradictions."""
    results = [run_check(check, pairs, Validation(**limits)) for check in (duplicates.CHECK, consistency.CHECK)]
    return [m for measures, _ in results for m in measures], [f for _, findings in results for f in findings]


def distinct(count):
    return [make_pair(f"prompt {row}", f"good {row}", f"poor {row}") for row in range(count)]


def with_meta(pair, **meta):
    row = pair.pair
    return EncodedPair(Pair(row.prompt, row.chosen, row.rejected, meta=meta), (), (), ())


def with_id(pair, row_id):
    return replace(pair, pair=replace(pair.pair, row_id=row_id))


def test_sound_pairs_have_no_consistency_findings():
    measures, findings = checked(as_pairs(null_texts(1, 500)))
    assert findings == []
    assert {measure.value for measure in measures} == {0}


def test_duplicates_count_the_copies_and_not_the_first():
    pairs = distinct(8)
    results = checked([*pairs, pairs[0], pairs[0]], max_duplicates=0.1)
    assert measured(results)["consistency/duplicates"] == 0.2
    assert severities(results)["consistency/duplicates"] == "fail"


def test_duplicates_within_the_limit_are_only_told():
    pairs = distinct(19)
    assert severities(checked([*pairs, pairs[0]])) == {"consistency/duplicates": "info"}


def test_spacing_and_the_case_of_the_prompt_make_no_other_row():
    results = checked([make_pair("Say  it\n", "A b", "c"), make_pair("say it", "A  b", "c ")])
    assert measured(results)["consistency/duplicates"] == 0.5


def test_the_case_of_an_answer_does():
    assert measured(checked([make_pair("p", "Yes", "no"), make_pair("p", "yes", "no")]))["consistency/duplicates"] == 0


@pytest.mark.parametrize(("others", "expected"), [(198, "warn"), (98, "fail")])  # 2 of 200 is 1 %; 2 of 100 is above
def test_the_same_pair_in_both_directions_warns_and_above_one_percent_fails(others, expected):
    pairs = [*distinct(others), make_pair("p", "A", "B"), make_pair("p", "B", "A")]
    results = checked(pairs)
    assert measured(results)["consistency/both_directions"] == 2 / (others + 2)
    assert severities(results) == {"consistency/both_directions": expected}


def test_the_same_answers_the_other_way_round_for_another_prompt_are_no_contradiction():
    results = checked([make_pair("p", "A", "B"), make_pair("q", "B", "A")])
    assert measured(results)["consistency/both_directions"] == 0


def test_a_cycle_among_three_answers_is_found_and_the_pair_that_hangs_on_it_is_not():
    cycle = [make_pair("p", *sides) for sides in ("AB", "BC", "CA", "CD")]
    results = checked([*cycle, *distinct(6)])
    assert measured(results)["consistency/cycles"] == 0.3
    assert measured(results)["consistency/both_directions"] == 0
    assert severities(results)["consistency/cycles"] == "warn"


def test_a_ranking_has_no_cycle():
    assert measured(checked([make_pair("p", *sides) for sides in ("AB", "BC", "AC")]))["consistency/cycles"] == 0


def test_scores_that_say_otherwise_are_flips_and_equal_ones_ties():
    pairs = [
        with_meta(make_pair("a", "x", "y"), chosen_score=1, rejected_score=2.5),
        with_meta(make_pair("b", "x", "y"), score_chosen=3, score_rejected=3),
        with_meta(make_pair("c", "x", "y"), chosen_score=2, rejected_score=1),
        with_meta(make_pair("d", "x", "y"), chosen_score="2", rejected_score=None),
    ]
    results = checked(pairs)
    assert measured(results)["consistency/flipped"] == 0.25
    assert measured(results)["consistency/ties"] == 0.25
    assert next(f for f in results[1] if f.check == "consistency/flipped").statistics["scored"] == 3


def test_a_row_whose_scores_say_otherwise_is_suspicious_and_not_unusable(tmp_path):
    rows = [
        {"prompt": f"p{n}", "chosen": "x", "rejected": "y", "meta": {"score_chosen": n, "score_rejected": 1}}
        for n in range(4)
    ]
    assert measured(checked(through_a_file(tmp_path, rows)))["consistency/flipped"] == 0.25


def test_flips_within_the_limit_are_only_told():
    flipped = with_meta(make_pair("p", "x", "y"), chosen_score=1, rejected_score=2)
    assert severities(checked([*distinct(99), flipped])) == {"consistency/flipped": "info"}


def test_an_id_on_two_prompts_is_a_mix_up_and_on_two_answers_it_is_the_prompts():
    same = [with_id(make_pair("p", text, "y"), "7") for text in ("one", "two")]
    other = [with_id(make_pair(prompt, "x", "y"), "8") for prompt in ("q", "r")]
    assert measured(checked([*same, *other]))["consistency/same_id"] == 0.5


def near_copies(seed, changed):
    """A pair of answers of 100 words and the same with some words replaced."""
    rng = np.random.default_rng(seed)
    sides = [answer(rng, 100).split() for _ in range(2)]
    copies = [list(side) for side in sides]
    for copy in copies:
        for place in rng.choice(100, size=changed, replace=False):
            copy[place] = f"new{place}"
    return [" ".join(side) for side in sides], [" ".join(copy) for copy in copies]


def test_near_copies_are_found_and_confirmed_by_their_texts():
    # one word changed of 100 touches at most 5 of 96 shingles: J >= 91 / 101
    copies = [near_copies(seed, 1) for seed in range(20)]
    pairs = [make_pair(f"prompt {row}", *sides) for row, both in enumerate(copies) for sides in both]
    results = checked([*pairs, *as_pairs(null_texts(2, 60))])
    assert measured(results)["consistency/near_duplicates"] == 0.2
    assert measured(results)["consistency/duplicates"] == 0
    assert severities(results) == {"consistency/near_duplicates": "warn"}


def test_near_copies_with_swapped_sides_contradict_each_other():
    (a, b), (c, d) = near_copies(3, 1)
    results = checked([make_pair("p", a, b), make_pair("p", d, c), *distinct(8)])
    assert measured(results)["consistency/near_both_directions"] == 0.1
    assert measured(results)["consistency/near_duplicates"] == 0


def test_answers_half_alike_or_to_another_prompt_are_no_near_copies():
    half, other = near_copies(4, 15), near_copies(5, 1)
    pairs = [make_pair("p", *sides) for sides in half]
    pairs += [make_pair(prompt, *sides) for prompt, sides in zip(("about cats", "about dogs"), other, strict=True)]
    assert measured(checked(pairs))["consistency/near_duplicates"] == 0


def test_of_many_candidates_a_sample_is_compared_and_the_share_is_an_estimate(monkeypatch):
    monkeypatch.setattr(duplicates, "CHECKED", 50)
    copies = [near_copies(seed, 1) for seed in range(100)]
    results = checked([make_pair(f"prompt {row}", *sides) for row, both in enumerate(copies) for sides in both])
    measure = next(m for m in results[0] if m.check == "consistency/near_duplicates")
    assert measure.value == pytest.approx(0.5, abs=0.02)
    assert "an estimate" in measure.says
    assert measure.says.startswith("about 100 of 200")

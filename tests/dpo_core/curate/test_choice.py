"""What pairs a prompt's scored answers admit, best first, and why none."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.curate.choice import (
    ALIKE,
    ALONE,
    BROKEN,
    EMPTY,
    MARGIN,
    NO_ANSWERS,
    NO_SCORE,
    SAME,
    TIE,
    UNENDED,
    Candidate,
    Choice,
    Group,
    cut_off,
    differs,
    options_of,
)
from dpo_core.curate.likeness import bare, change, likeness
from tests.dpo_core.curate.groups import group, groups


def scores(options):
    return [(option.chosen.score, option.rejected.score) for option in options]


def reason_of(*candidates, **rules):
    options, reason = options_of(Group("p", candidates), Choice(**rules))
    assert options == []
    return reason


def test_best_against_worst_comes_first_and_every_other_pair_after_it_by_its_difference():
    options, reason = options_of(group(0, (0.9, 3), (0.1, 3), (0.5, 3)), Choice())
    assert reason == ""
    assert scores(options) == [(0.9, 0.1), (0.9, 0.5), (0.5, 0.1)]
    assert [option.contrast for option in options] == pytest.approx([0.8, 0.4, 0.4])


def test_the_low_answer_is_the_one_nearest_to_the_mean_minus_two_deviations():
    # fifteen answers, mean -13 / 15 = -.867, mean square 117 / 15 = 7.8: deviation sqrt(7.8 - .751) = 2.655, so the low
    # one should be at -6.177: -4 is 2.177 away, -10 is 3.823 away
    made = group(0, *((value, 3) for value in [-10.0, -4.0, *[0.0] * 12, 1.0]))
    assert scores(options_of(made, Choice(rejected="worst"))[0])[0] == (1.0, -10.0)
    options = options_of(made, Choice(rejected="low"))[0]
    assert scores(options)[0] == (1.0, -4.0)
    assert options[0].contrast == pytest.approx(1 + 6.177 - 2.177, abs=2e-3)


def test_what_makes_no_pair_is_told_by_its_reason():
    good, poor = Candidate("one two three", 1.0), Candidate("four five six", 0.0)
    assert reason_of() == NO_ANSWERS
    assert reason_of(Candidate("", 1.0), Candidate(" <|im_end|> ", 0.0)) == EMPTY
    assert reason_of(Candidate("a", math.nan), Candidate("b", math.inf)) == NO_SCORE
    assert reason_of(good, Candidate("", 0.0)) == ALONE
    assert reason_of(good, Candidate("b", math.nan)) == ALONE
    assert reason_of(good, Candidate("four five six", 1.0)) == TIE
    assert reason_of(good, good) == TIE
    assert reason_of(good, poor, margin=1.5) == MARGIN
    assert reason_of(Candidate("one two three", 1.0, ended=False), poor) == UNENDED
    assert reason_of(good, Candidate("four five six", 0.0, ended=False), ended="both") == UNENDED
    assert reason_of(good, Candidate(" one  two three<|im_end|>\n", 0.0)) == SAME
    assert reason_of(good, Candidate("One, two: three!", 0.0)) == ALIKE
    assert options_of(Group("p", (good, poor)), Choice())[1] == ""


def test_an_unended_answer_may_be_rejected_and_chosen_where_the_rules_say_so():
    cut = Candidate("one two three", 1.0, ended=False)
    other = Candidate("four five six", 0.0)
    assert options_of(Group("p", (cut, other)), Choice(ended="any"))[0]
    worse = Candidate("one two three", -1.0, ended=False)
    assert scores(options_of(Group("p", (worse, other)), Choice())[0]) == [(0.0, -1.0)]


def test_where_most_answers_were_cut_off_their_length_is_the_first_remedy():
    cut, whole = Candidate("one two three", 1.0, ended=False), Candidate("four five six", 0.0)
    told = cut_off([Group("p", (cut, cut)), Group("q", (cut, whole))], Choice())
    assert "raise answers.max_new_tokens" in told
    assert "3 of 4 were cut off" in told
    assert cut_off([Group("p", (cut, whole))], Choice()) == ""
    assert cut_off([Group("p", (cut, cut))], Choice(ended="any")) == ""


def test_likeness_is_the_share_of_words_that_stay():
    assert likeness("The answer is 4.", "the answer is 5") == 0.75  # one of four words
    assert likeness("a b c d", "a b c d e f g h") == 0.5
    assert likeness("\U0001f642", "☹") == 0.0  # no words: what else is written counts
    assert change("I am Bo.", "I am Al.") == 0.25  # three words and a mark
    assert change("Same.", "same.") == 0.5
    assert bare("x <|im_end|>\n") == "x"


def test_the_margin_counts_where_it_is_met_exactly():
    assert scores(options_of(group(0, (1.0, 2), (0.5, 2)), Choice(margin=0.5))[0]) == [(1.0, 0.5)]
    assert differs((0.5, 0.5), 0.0) is False
    assert differs((0.5, 1.0), 0.5) is True


@given(groups(most=1, answers=6), st.sampled_from(["worst", "low"]), st.floats(0, 1), st.randoms())
def test_every_pair_keeps_the_margin_and_the_order_of_answers_changes_nothing(made, rejected, margin, random):
    for one in made:
        rules = Choice(rejected=rejected, margin=margin)
        options, reason = options_of(one, rules)
        assert bool(options) != bool(reason)
        assert all(o.chosen.score - o.rejected.score >= margin and o.chosen.score > o.rejected.score for o in options)
        assert [o.contrast for o in options] == sorted((o.contrast for o in options), reverse=True)
        shuffled = random.sample(one.candidates, len(one.candidates))
        assert options_of(Group(one.key, tuple(shuffled)), rules) == (options, reason)


@given(groups(most=1, answers=6))
def test_the_worst_rules_first_pair_is_the_highest_score_against_the_lowest(made):
    for one in made:
        options, _ = options_of(one, Choice())
        if options:
            every = [candidate.score for candidate in one.candidates]
            assert scores(options)[0] == (max(every), min(every))


def test_an_answer_that_lost_a_character_is_no_side_of_a_pair():
    torn = Candidate("caf\N{REPLACEMENT CHARACTER} au lait", 3.0)
    good, bad = Candidate("a coffee with milk", 2.0), Candidate("no idea what that may be", 1.0)
    options, _ = options_of(Group("k", (torn, good, bad)), Choice())
    assert [(option.chosen, option.rejected) for option in options] == [(good, bad)]
    assert options_of(Group("k", (torn,)), Choice()) == ([], BROKEN)

"""What is watched over rounds, and when it has run away."""

import math

import pytest
from scipy import stats

from dpo_core.curate.choice import Candidate, Choice, Group
from dpo_core.curate.curves import Runaway, distinct_pairs, facts_of, opening_entropy, runaway


def round_of(number, *texts, scores=None):
    scores = scores or [float(place) for place in range(len(texts))]
    made = [Candidate(text, score, 2 * len(text.split())) for text, score in zip(texts, scores, strict=True)]
    return facts_of(number, [Group("p", tuple(made))], Choice())


def test_a_round_is_told_by_hand():
    facts = round_of(0, "Yes it is", "No it is not", scores=[1.0, 0.0])
    # pairs: yes it, it is | no it, it is, is not: four different of five; first words: two, one bit
    assert (facts.answers, facts.words, facts.tokens, facts.reward) == (2, 3.5, 7.0, 0.5)
    assert facts.distinct == pytest.approx(4 / 5)
    assert facts.openings == 1.0
    assert facts.informative == 1.0


def test_entropy_of_first_words_is_scipys():
    texts = ["a b", "A c", "b", "c d", ""]
    assert opening_entropy(texts) == pytest.approx(stats.entropy([2, 1, 1, 1], base=2))
    assert opening_entropy(["same"] * 3) == 0.0
    assert math.isnan(opening_entropy([]))


def test_words_beyond_the_first_32_do_not_lower_diversity():
    text = " ".join(map(str, range(32)))
    assert distinct_pairs([text + " again" * 50]) == 1.0
    assert math.isnan(distinct_pairs(["one"]))


def test_answers_that_grow_or_shrink_stop_the_rounds():
    short, long = round_of(0, "one two", "three four"), round_of(1, "one two three four", "five six seven eight")
    assert runaway([short], Runaway()) == []
    assert runaway([short, round_of(1, "five two", "three six")], Runaway()) == []
    assert "2.00 times the 2.0 of round 0: the reward may pay for length" in runaway([short, long], Runaway())[0]
    shrunk = runaway([long, round_of(1, "one two", "three four")], Runaway())
    assert "brevity" in shrunk[0]
    assert runaway([short, long], Runaway(longer=2.0)) == []


def test_answers_that_become_one_stop_the_rounds():
    first = round_of(0, "one two three", "four five six", "seven eight nine", "ten apple pear")
    last = round_of(2, *["one two three"] * 3, "four five six")
    # 8 different pairs of 8 fell to 4 of 8, two bits to .81
    assert ["different word pairs" in says or "entropy" in says for says in runaway([first, last], Runaway())] == [
        True
    ] * 2
    assert "fell to 0.5 from 1 in round 0" in runaway([first, last], Runaway())[0]


def test_a_reward_that_tells_nothing_apart_stops_at_once():
    facts = round_of(0, "one two", "three four", scores=[1.0, 1.0])
    assert "make a pair" in runaway([facts], Runaway())[0]
    assert runaway([], Runaway()) == []

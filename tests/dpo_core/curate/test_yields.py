"""What a pilot promises, against sums over all subsets, simulation and exact intervals."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dpo_core.curate.choice import Choice, differs
from dpo_core.curate.yields import duration, expected_yield, informative_share
from tests.dpo_core.curate.groups import group


def test_a_pilot_tells_share_interval_and_totals():
    # 3 of 4 prompts give a pair; Clopper-Pearson by the beta quantiles: B(.025; 3, 2) and B(.975; 4, 1)
    pilot = [group(n, (1.0, 4), (0.0, 6)) for n in range(3)] + [group(3, (1.0, 4), (1.0, 6))]
    found = expected_yield(pilot, Choice(), seconds=16.0)
    assert (found.share, found.answers, found.seconds, found.tokens) == (0.75, 2.0, 2.0, 5.0)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 3, 2))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 4, 1))
    assert found.pairs_per_1000 == 375
    says = found.says(1000)
    assert "3 of 4 pilot prompts gave a pair (75%" in says
    assert "1,000 prompts will give 750 pairs (194 to 994) of 2,000 answers, 10,000 tokens, 1 h 07 min" in says


def test_prompts_that_were_refused_or_have_no_score_count_as_giving_no_pair():
    # of 30 prompts 6 have scores and 5 of these give a pair: 5 of 30, not 5 of 6
    pilot = [group(n, (1.0, 4), (0.0, 6)) for n in range(5)] + [group(5, (1.0, 4), (1.0, 6))]
    found = expected_yield(pilot, Choice(), prompts=30, seconds=1.0)
    assert (found.share, found.answers) == (5 / 30, 12 / 30)
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 6, 25))
    says = found.says(1000)
    assert "5 of 30 pilot prompts (24 were refused or have no score) gave a pair (17%" in says
    assert "1,000 prompts will give 167 pairs" in says
    assert "by answers a prompt: 2: 17%" in says


def test_tokens_that_nobody_counted_are_not_told():
    says = expected_yield([group(0, (1.0, 0), (0.0, 0))], Choice(), seconds=1.0).says(10)
    assert "20 answers, less than a minute" in says


def test_at_18_percent_two_answers_leave_70_percent_of_the_groups_without_information_and_eight_20():
    # 1 - .18^2 - .82^2 = .2952 and 1 - .18^8 - .82^8 = .7956 (the figures of curation's study)
    draws = np.random.default_rng(0).random((4000, 16)) < 0.18
    found = informative_share(draws.astype(float).tolist(), (2, 8))
    assert found[2] == pytest.approx(0.2952, abs=0.01)
    assert found[8] == pytest.approx(0.7956, abs=0.01)


def test_fewer_answers_than_the_pilots_are_told_without_bias():
    random = np.random.default_rng(1)
    chances = random.beta(0.5, 1.5, 6000)
    pilot = (random.random((6000, 8)) < chances[:, None]).astype(float)
    truth = {n: float(np.mean(1 - chances**n - (1 - chances) ** n)) for n in (2, 4, 8)}
    found = informative_share(pilot.tolist(), (2, 4, 8))
    assert found == {n: pytest.approx(share, abs=0.015) for n, share in truth.items()}


def test_more_answers_than_the_pilots_follow_a_beta_binomial():
    random = np.random.default_rng(2)
    chances = random.beta(0.5, 1.5, 4000)
    pilot = (random.random((4000, 4)) < chances[:, None]).astype(float)
    truth = float(np.mean(1 - chances**16 - (1 - chances) ** 16))
    assert informative_share(pilot.tolist(), (16,))[16] == pytest.approx(truth, abs=0.03)


def test_of_a_reward_that_is_not_yes_or_no_nothing_is_said_beyond_the_pilot():
    assert list(informative_share([(0.1, 0.5, 0.9, 0.3)], (2, 4, 8))) == [2, 4]
    assert informative_share([(float("nan"),)]) == {}


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_pilot_of_one_score_alone_promises_next_to_nothing(score):
    assert informative_share([[score] * 8] * 30, (2, 8, 16))[16] < 0.01


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=7), st.integers(2, 7), st.floats(0, 1))
def test_the_share_is_that_of_all_subsets(scores, number, margin):
    if number <= len(scores):
        subsets = [differs(subset, margin) for subset in itertools.combinations(scores, number)]
        assert informative_share([scores], (number,), margin).get(number) == pytest.approx(np.mean(subsets))


def test_a_pilot_without_prompts_is_refused():
    with pytest.raises(ValueError, match="at least one prompt"):
        expected_yield([], Choice(), seconds=1.0)


def test_durations_are_told_in_words():
    assert [duration(s) for s in (20, 600, 5400)] == ["less than a minute", "10 min", "1 h 30 min"]

"""The recommendation: a flat optimum before a lucky peak, the own settings where nothing is better beyond luck."""

import random
from statistics import fmean

import pytest

from dpo_core.tune.choice import TriedPoint, choose, gain_half_width, seed_spread


def tried(number, at, *values, feasible=True, **rungs):
    whole = {8: values} if values else {}
    return TriedPoint(number, (at,), {**{int(rung[1:]): (value,) for rung, value in rungs.items()}, **whole}, feasible)


PLAIN = [tried(0, 0.0, 0.50, 0.51), *(tried(1 + n, 0.1 * n, 0.50, 0.51) for n in range(5))]
HILL = [tried(10 + n, 0.7 + 0.05 * n, 0.70, 0.71) for n in range(5)]


def test_a_peak_that_stands_alone_loses_to_a_hill():
    chosen = choose([*PLAIN, tried(9, 0.35, 0.74, 0.74), *HILL], own=0)
    assert chosen.peak == 9
    assert chosen.number in range(10, 15)
    assert chosen.around[9] < 0.6 < chosen.around[12]


def test_on_a_noisy_surface_less_is_lost_than_by_taking_the_best_measurement():
    # truth: a bowl upside down over two settings; a seed's noise 0.05; 16 trials of two seeds and one lower rung
    draw, lost = random.Random(1), {"recommended": 0.0, "peak": 0.0}
    for _ in range(60):
        top = (draw.uniform(0.3, 0.7), draw.uniform(0.3, 0.7))
        trials, truth = [], []
        for number in range(16):
            place = (draw.random(), draw.random())
            truth.append(0.7 - 0.4 * ((place[0] - top[0]) ** 2 + (place[1] - top[1]) ** 2))
            seeds = tuple(truth[-1] + draw.gauss(0, 0.05) for _ in range(2))
            trials.append(TriedPoint(number, place, {1: (truth[-1] - 0.1 + draw.gauss(0, 0.075),), 8: seeds}, True))
        chosen = choose(trials, own=-1)
        lost["recommended"] += max(truth) - truth[chosen.number]
        lost["peak"] += max(truth) - truth[chosen.peak]
    assert lost["recommended"] < 0.85 * lost["peak"]


def test_the_own_settings_stay_where_nothing_is_better_by_more_than_seeds_differ():
    near = [tried(0, 0.5, 0.60, 0.70), tried(1, 0.6, 0.64, 0.70)]
    assert choose(near, own=0).number == 0
    assert choose([tried(0, 0.0, 0.60, 0.61), *HILL], own=0).number != 0


def by_group(number, at, means, pairs=1):
    groups = tuple((mean * pairs, pairs) for mean in means)
    return TriedPoint(number, (at,), {8: (fmean(means), fmean(means))}, True, groups)


def test_the_own_settings_stay_where_other_prompts_could_tell_otherwise():
    """A gain of 0.1 in the mean of 40 prompts: 0.2 on every second one, or 4 on one in forty, for all its seeds."""
    own = [0.5] * 40
    on_many, on_one = [0.5 + 0.2 * (n % 2) for n in range(40)], [0.5 + 4.0 * (n == 0) for n in range(40)]
    assert choose([by_group(0, 0.0, own), by_group(1, 1.0, on_many)], own=0).number == 1
    stays = choose([by_group(0, 0.0, own), by_group(1, 1.0, on_one)], own=0)
    assert (stays.number, stays.peak) == (0, 1)
    # one of n prompts gains g: the mean gains g / n, and its standard error is g / n as well; t(39) at 97.5 %: 2.0227
    assert stays.half_width == pytest.approx(0.1 * 2.0227, rel=1e-4)
    assert choose([by_group(0, 0.0, own)], own=0).half_width is None


def test_pairs_of_alike_prompts_count_as_one_and_weigh_as_many():
    """By hand, CR1 of a mean: 4 pairs of one group gain 0.3 each, 3 pairs apart 0.1, 0 and 0.2."""
    own = TriedPoint(0, (0.0,), {}, True, ((2.0, 4), (0.5, 1), (0.5, 1), (0.5, 1)))
    new = TriedPoint(1, (1.0,), {}, True, ((3.2, 4), (0.6, 1), (0.5, 1), (0.7, 1)))
    # mean 1.5 / 7; residual sums of groups .3429, -.1143, -.2143, -.0143; SE = sqrt(4/3 x .176735) / 7 = .069348
    assert gain_half_width(new, own) == pytest.approx(0.069348 * 3.18245, rel=1e-4)  # t(3)
    assert gain_half_width(new, TriedPoint(0, (0.0,), {}, True)) is None


def test_where_prompts_are_not_known_the_spread_of_seeds_decides():
    assert choose([tried(0, 0.0, 0.60, 0.61), by_group(1, 1.0, [0.7] * 9)], own=0).half_width is None
    assert choose([tried(0, 0.0, 0.60, 0.61), by_group(1, 1.0, [0.7] * 9)], own=0).number == 1


def test_what_breaks_a_limit_or_has_not_seen_all_pairs_is_not_recommended():
    trials = [tried(0, 0.0, 0.5), tried(1, 0.5, 0.9, feasible=False), tried(2, 1.0, r1=0.95)]
    assert choose(trials, own=0).number == 0
    assert choose(trials[1:], own=0) is None
    assert choose([], own=0) is None


def test_the_spread_is_that_between_seeds_pooled():
    assert seed_spread([tried(0, 0.0, 0.5, 0.7), tried(1, 0.0, 0.4, 0.4), tried(2, 0.0, 0.9)]) == pytest.approx(0.1)
    assert seed_spread([tried(0, 0.0, 0.5)]) is None


def test_lower_rungs_count_by_what_they_lack_to_the_last():
    # a rung at 1/8 measures 0.2 less: near the second point it says that the neighbourhood is as good
    trials = [tried(0, 0.0, 0.5, r1=0.3), tried(1, 1.0, 0.7, r1=0.5), tried(2, 1.0, r1=0.5), tried(3, 1.0, r1=0.5)]
    assert choose(trials, own=0).around[1] > choose(trials[:2], own=0).around[1]

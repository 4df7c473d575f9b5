"""Length control over all groups: the limits hold while options exist, at the least loss of contrast."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.curate.choice import LENGTH, TIE, Choice, options_of
from dpo_core.curate.length_control import FEW, Limits, is_within, take, weigh
from dpo_core.curate.selection import select
from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.check import Facts
from dpo_core.quality.examine import tables_of
from dpo_core.quality.shortcuts.balance import balances, check_balance
from dpo_core.recipe import Validation
from tests.dpo_core.curate.groups import group, groups
from tests.dpo_core.quality.quality_data import make_pair


def brute(options, limits):
    """(pairs, contrast) of the best choice by looking at all of them."""
    ways = [[None, *range(len(group))] for group in options]
    found = (0, 0.0)
    for way in itertools.product(*ways):
        taken = [group[place] for group, place in zip(options, way, strict=True) if place is not None]
        if is_within(taken, limits, len(options)):
            found = max(found, (len(taken), math.fsum(option.contrast for option in taken)))
    return found


def weighed(made):
    found = (options_of(one, Choice())[0] for one in made)
    return [[weigh(option, "tokens") for option in options] for options in found if options]


def test_the_best_pairs_are_taken_where_their_lengths_say_nothing():
    made = [group(n, (1.0, 5), (0.0, 3)) for n in range(5)] + [group(n, (1.0, 3), (0.0, 5)) for n in range(5, 10)]
    selection = select(made, Choice())
    assert all(pick.contrast == 1.0 for pick in selection.picks)
    assert selection.length.before == selection.length.after == (0.5, 0.5)
    assert selection.length.says == ""
    assert selection.dropped == {}


def test_groups_go_over_to_another_pair_where_that_costs_least():
    # the longer answer wins ten of ten; at most six may be won, so four groups go over: the four whose second best
    # pair, which the shorter answer wins, loses least: group n loses (n + 1) / 20, so .05 + .1 + .15 + .2, .05 a pair
    made = [group(n, (1.0, 5), (0.0, 3), ((n + 1) / 20, 6)) for n in range(10)]
    selection = select(made, Choice())
    assert [n for n, pick in enumerate(selection.picks) if pick.rejected.tokens == 6] == [0, 1, 2, 3]
    assert selection.length.swapped == 4
    assert selection.length.after[0] == 0.6
    assert selection.length.before == (1.0, 1.0)
    assert selection.length.contrast_before - selection.length.contrast_after == pytest.approx(0.05)
    assert "wins 60.0% of the pairs instead of 100.0%" in selection.length.says


def test_a_reward_that_pays_for_length_alone_is_caught():
    made = [group(n, (1.0, 9), (0.7, 6), (0.2, 3)) for n in range(40)]
    selection = select(made, Choice())
    assert selection.picks == (None,) * 40
    assert selection.dropped == {LENGTH: 40}
    assert (
        "length decides 40 of 40 groups: no pairs can be made that length does not give away" in selection.length.says
    )


def test_only_what_the_limit_cannot_hold_is_left_out_and_the_least_contrast_goes():
    # 70 won by the longer, 30 by the shorter: x of the 70 with x - 30 <= .2 (x + 30), so x = 45
    made = [group(n, (1.0 + n / 100, 9), (0.0, 3)) for n in range(70)]
    made += [group(n, (1.0, 3), (0.0, 9)) for n in range(70, 100)]
    selection = select(made, Choice())
    assert selection.dropped == {LENGTH: 25}
    assert [n for n, pick in enumerate(selection.picks) if pick is None] == list(range(25))
    assert selection.length.after[0] == 0.6
    assert selection.length.decided == 70


def test_of_four_groups_a_share_says_nothing_and_one_pair_more_may_go_to_the_longer_answer():
    assert select([group(0, (1.0, 5), (0.0, 3))], Choice()).picks[0] is not None
    made = [group(n, (1.0, 5), (0.0, 3)) for n in range(FEW - 1)]
    assert sum(pick is not None for pick in select(made, Choice()).picks) == 1


def test_every_length_may_win_where_the_rules_say_so():
    made = [group(n, (1.0, 9), (0.2, 3)) for n in range(40)]
    assert select(made, Choice(longer_wins=1.0)).dropped == {}


def test_the_mean_ratio_of_lengths_can_be_held_near_nothing():
    # the longer answer wins half of the pairs, but it is three times as long and the shorter winner loses by little
    made = [group(n, (1.0, 12), (0.0, 4), (0.3, 11)) for n in range(10)]
    made += [group(n, (1.0, 4), (0.0, 5)) for n in range(10, 20)]
    free, held = select(made, Choice()), select(made, Choice(log_length=0.05))
    assert free.length.swapped == 0
    assert held.dropped == {}
    ratios = [math.log1p(p.chosen.tokens) - math.log1p(p.rejected.tokens) for p in held.picks]
    assert abs(sum(ratios) / 20) <= 0.05
    assert held.length.swapped > 0


def test_groups_without_a_pair_keep_their_own_reason():
    selection = select([group(0, (1.0, 3), (1.0, 4)), group(1, (1.0, 3), (0.0, 3))], Choice())
    assert selection.reasons == (TIE, "")


def test_no_groups_make_no_pairs():
    selection = select([], Choice())
    assert selection.picks == ()
    assert math.isnan(selection.length.after[0])


def test_the_data_check_finds_the_lengths_of_what_was_selected_within_its_limits():
    made = [group(n, (1.0, 9), (0.5, 11 if n % 2 else 4), (0.0, 3 + n % 3)) for n in range(200)]
    picks = [pick for pick in select(made, Choice()).picks if pick is not None]
    assert len(picks) == 200
    pairs = [make_pair(f"prompt {n}", pick.chosen.text, pick.rejected.text) for n, pick in enumerate(picks)]
    tables = tables_of(pairs, Validation())
    shares = {balance.name: balance.share for balance in balances(tables[0])}
    assert shares["words"] <= 0.6
    assert shares["characters"] <= 0.6
    assert not [f for f in check_balance(Facts(*tables), Validation())[1] if f.severity != "info"]
    assert all(isinstance(pair, EncodedPair) for pair in pairs)


@settings(max_examples=60)
@given(groups(most=5, answers=3), st.sampled_from([0.5, 0.6, 0.75]), st.sampled_from([math.inf, 0.1]))
def test_what_is_taken_is_as_much_as_any_choice_could_take(made, share, ratio):
    options, limits = weighed(made), Limits(share, ratio)
    taken = take(options, limits)
    kept = [group[place] for group, place in zip(options, taken, strict=True) if place is not None]
    assert is_within(kept, limits, len(options))
    pairs, contrast = brute(options, limits)
    assert len(kept) == pairs
    assert math.fsum(option.contrast for option in kept) == pytest.approx(contrast)


@settings(max_examples=40)
@given(groups(most=30), st.sampled_from([0.5, 0.6, 0.7]), st.randoms())
def test_the_limit_holds_and_the_order_of_groups_changes_nothing(made, share, random):
    selection = select(made, Choice(longer_wins=share))
    kept = [weigh(pick, "tokens") for pick in selection.picks if pick is not None]
    of = sum(reason in ("", LENGTH) for reason in selection.reasons)
    assert is_within(kept, Limits(share), of)
    if of >= FEW and kept:
        assert all(1 - share - 1e-9 <= won <= share + 1e-9 for won in selection.length.after)
    order = random.sample(range(len(made)), len(made))
    again = select([made[row] for row in order], Choice(longer_wins=share))
    assert [again.picks[order.index(row)] for row in range(len(made))] == list(selection.picks)


def test_blocks_keep_to_the_limit_together_and_leave_out_what_all_of_them_must():
    # 1,200 groups in three blocks; 840 won by the longer alone, 360 by the shorter alone: x - 360 <= .2 (x + 360)
    made = [group(n, (1.0, 9), (0.0, 3)) for n in range(840)] + [group(n, (1.0, 3), (0.0, 9)) for n in range(840, 1200)]
    selection = select(made, Choice())
    assert selection.dropped == {LENGTH: 1200 - (540 + 360)}
    assert selection.length.after[0] == 0.6

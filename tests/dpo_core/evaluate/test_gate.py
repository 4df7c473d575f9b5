import math

import pytest
from scipy import stats

from dpo_core.evaluate.gate import Scores, decide
from dpo_core.recipe import Gate


def scores(ones, zeros, tail=()):
    values = [1.0] * ones + [0.0] * zeros + list(tail)
    return Scores(values, [str(i) for i in range(len(values))])


def verdict(new, old, **rules):
    decision = decide({"m": new}, {"m": old}, Gate(**{"improve": [], **rules}))
    return decision.verdict, decision.reasons


def test_a_gain_beyond_chance_is_promoted():
    # 8 items won, none lost: exact McNemar one-sided p = 2^-8 = 0.0039
    outcome, reasons = verdict(scores(8, 2), scores(0, 10), improve=["m"])
    assert outcome == "promote"
    assert "(p = 0.0039)" in reasons[0]


def test_a_gain_within_chance_is_held():
    # 3 won, none lost: p = 2^-3 = 0.125
    assert verdict(scores(3, 7), scores(0, 10), improve=["m"])[0] == "hold_no_gain"


@pytest.mark.parametrize(("pairs", "p"), [(1, 0.5), (2, 0.25), (4, 0.0625), (5, 0.03125)])
def test_the_first_model_is_gated_by_an_exact_sign_test(pairs, p):
    """The reference prefers neither answer: 0.5 each. All won by chance: p = 2^-pairs; 5 are the fewest below 0.05."""
    names = [str(i) for i in range(pairs)]
    outcome, [reason] = verdict(Scores([1.0] * pairs, names), Scores([0.5] * pairs, names), improve=["m"], min_items=1)
    assert f"(p = {p:.2g})" in reason
    assert outcome == ("promote" if p <= 0.05 else "hold_underpowered")
    assert ("at least 5 with prompts of their own are needed (alpha 0.05)" in reason) == (p > 0.05)


@pytest.mark.parametrize("rule", ["improve", "keep", "floor"])
@pytest.mark.parametrize("won", [True, False])
def test_below_min_items_nothing_is_promoted_nor_rejected(rule, won):
    names = [str(i) for i in range(9)]
    rules = {"improve": {"improve": ["m"]}, "keep": {"keep": {"m": 0.1}}, "floor": {"floor": {"m": 0.5}}}[rule]
    outcome, [reason] = verdict(Scores([float(won)] * 9, names), Scores([0.5] * 9, names), **rules)
    assert outcome == "hold_underpowered"
    assert "9 items" in reason
    assert "at least 10 with prompts of their own are needed (gate.min_items)" in reason


def test_many_pairs_of_one_prompt_are_one_item():
    names = ["a"] * 20 + ["b"] * 20
    outcome, [reason] = verdict(Scores([1.0] * 40, names), Scores([0.5] * 40, names), improve=["m"])
    assert outcome == "hold_underpowered"
    assert "40 items of 2 prompts (p = 0.25)" in reason


def test_margins_of_few_prompts_are_no_proof_however_large():
    """Three margins above 0: of the 8 patterns of signs one has so large a sum, p = 1/8."""
    names = ["a", "b", "c"]
    outcome, [reason] = verdict(Scores([9.0, 5.0, 7.0], names), Scores([0.0] * 3, names), improve=["m"], min_items=1)
    assert outcome == "hold_underpowered"
    assert "(p = 0.12)" in reason


def test_worse_is_said_only_beyond_chance():
    names = [str(i) for i in range(10)]
    one_lost = Scores([0.0] + [1.0] * 9, names)
    assert verdict(one_lost, Scores([1.0] * 10, names), improve=["m"])[0] == "hold_no_gain"
    outcome, [reason] = verdict(Scores([0.0] * 10, names), Scores([1.0] * 10, names), improve=["m"])
    assert outcome == "reject_regression"
    assert "worse beyond chance (p = 0.00098)" in reason  # 2^-10


def test_a_kept_metric_says_which_number_is_a_bound():
    outcome, _ = verdict(scores(950, 50), scores(950, 50), keep={"m": 0.02})
    decision = decide({"m": scores(950, 50)}, {"m": scores(950, 50)}, Gate(improve=[], keep={"m": 0.02}))
    assert outcome == "promote"
    assert decision.reasons == ["m: 0.95 -> 0.95, may lose 0.02; 95% bound of the change +0"]


def test_no_change_is_no_gain():
    assert verdict(scores(5, 5), scores(5, 5), improve=["m"])[0] == "hold_no_gain"


def test_a_loss_beyond_the_margin_is_a_regression_whatever_else_improved():
    decision = decide(
        {"gain": scores(50, 0), "keep": scores(40, 10)},
        {"gain": scores(0, 50), "keep": scores(50, 0)},
        Gate(improve=["gain"], keep={"keep": 0.1}),
    )
    assert decision.verdict == "reject_regression"
    assert decision.reasons == ["keep: 1 -> 0.8, may lose 0.1, lost 0.2"]


def test_too_few_items_to_rule_out_a_loss_are_held_as_underpowered_with_the_number_needed():
    # one won, one lost of 20: difference 0, but the interval reaches far below -0.02
    new, old = scores(19, 0, [0.0]), scores(18, 0, [0.0, 1.0])
    outcome, reasons = verdict(new, old, keep={"m": 0.02})
    assert outcome == "hold_underpowered"
    # variance of the differences 2/20 = 0.1; n = 0.1 * ((1.6449 + 0.8416) / 0.02)^2 = 1546
    assert "about 1546 items would" in reasons[0]


def test_enough_items_show_that_nothing_is_lost():
    assert verdict(scores(950, 50), scores(950, 50), keep={"m": 0.02})[0] == "promote"


def test_a_floor_holds_what_stays_below_it():
    assert verdict(scores(89, 11), scores(0, 100), floor={"m": 0.9})[0] == "hold_no_gain"
    assert verdict(scores(90, 10), scores(0, 100), floor={"m": 0.9})[0] == "promote"


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (None, "m was not measured"),
        (Scores([], []), "m was not measured"),
        (Scores([math.nan], ["0"]), "m is not finite"),
        (Scores([1.0], ["other"]), "m was measured on other items than the baseline's"),
    ],
)
def test_evidence_that_cannot_be_used_never_passes(new, why):
    challenger = {} if new is None else {"m": new}
    decision = decide(challenger, {"m": Scores([0.0], ["0"])}, Gate(improve=["m"]))
    assert (decision.verdict, decision.reasons) == ("reject_regression", [why])


def test_nothing_asked_is_no_reason_to_promote():
    assert decide({}, {}, Gate(improve=[])).verdict == "hold_no_gain"


def test_chance_alone_promotes_at_most_as_often_as_alpha_says():
    import random

    draw = random.Random(0)
    promoted = 0
    for _ in range(300):
        values = [[float(draw.random() < 0.5) for _ in range(40)] for _ in range(2)]
        names = [str(i) for i in range(40)]
        promoted += verdict(Scores(values[0], names), Scores(values[1], names), improve=["m"])[0] == "promote"
    # at most 5 % by construction (exact test); 300 draws exceed 27 with probability 0.1 %
    assert promoted <= stats.binom.ppf(0.999, 300, 0.05)

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

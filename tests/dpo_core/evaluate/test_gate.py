import itertools
import math
import re

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from dpo_core.evaluate.conditions import VERDICTS
from dpo_core.evaluate.gate import Scores, beyond_noise, decide
from dpo_core.evaluate.looks import alpha_of_a_look
from dpo_core.evaluate.score_test import score
from dpo_core.recipe_release import Gate


def named(values, size=1):
    return Scores([float(value) for value in values], [str(i // size) for i in range(len(values))])


def counted(won, lost, n, size=1):
    """Items that only the new model has right, only the old one, and both."""
    rest = [1] * (n - won - lost)
    return named([1] * won + [0] * lost + rest, size), named([0] * won + [1] * lost + rest, size)


def judged(new, old, *, anchor=None, looks=1, **rules):
    decision = decide({"m": new}, {"m": old}, Gate(**{"improve": [], **rules}), anchor=anchor, looks=looks)
    return decision.conditions[0]


def test_a_gain_beyond_chance_is_promoted():
    # 8 of 20 items won, none lost: p is the largest chance of a score sqrt(8) or above, by enumeration 0.0025
    condition = judged(*counted(8, 0, 20), improve=["m"])
    assert condition.verdict == "promote"
    assert (condition.won, condition.lost, condition.items, condition.clusters) == (8, 0, 20, 20)
    assert condition.p < 0.005
    assert condition.low > 0


@pytest.mark.parametrize(("new", "old"), [counted(2, 0, 20), counted(0, 0, 50), counted(12, 10, 100)])
def test_a_gain_within_chance_is_held(new, old):
    condition = judged(new, old, improve=["m"])
    assert condition.verdict == "hold_no_gain"
    assert condition.low <= 0 <= condition.high


def test_the_first_model_is_gated_against_a_reference_that_ties_with_itself():
    """0.5 each: an item is worth one half. 20 of 20 by chance: 0.5^20; a change of 0.5 at most."""
    condition = judged(named([1] * 20), named([0.5] * 20), improve=["m"])
    assert condition.p == pytest.approx(0.5**20, rel=1e-6)
    assert condition.difference == 0.5
    assert 0.3 < condition.low < 0.5


@pytest.mark.parametrize("rule", [{"improve": ["m"]}, {"keep": {"m": 0.1}}, {"floor": {"m": 0.5}}])
def test_of_one_item_two_are_needed_whatever_is_asked_for(rule):
    condition = judged(*counted(1, 0, 1), min_items=1, **rule)
    assert "on 1 item: too few to tell, 2 with prompts of their own are needed" in condition.says
    assert condition.items_needed >= 2


@pytest.mark.parametrize("sizes", [[1, 1, 1], [2, 2, 2], [1, 1, 1, 20]])
@pytest.mark.parametrize("rule", [{"keep": {"rewards/margins": 0.1}}, {"floor": {"rewards/margins": 1.0}}])
def test_of_few_groups_that_all_moved_alike_nothing_is_ruled_out_and_it_is_said_how_many_would(rule, sizes):
    clusters = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    same = Scores([2.0] * len(clusters), clusters)  # p of the lowest: 0.5 to the power of the groups, above 0.05
    models = {"rewards/margins": same}
    [condition] = decide(models, models, Gate(improve=[], min_items=1, **rule)).conditions
    assert condition.verdict == "hold_underpowered"
    assert condition.p > 0.05
    assert (condition.low, condition.high) == (None, None)
    assert condition.items_needed > len(clusters)
    assert f"about {condition.items_needed} items would" in condition.says
    enough = [str(number) for number in range(condition.items_needed)]
    models = {"rewards/margins": Scores([2.0] * len(enough), enough)}
    assert decide(models, models, Gate(improve=[], min_items=1, **rule)).verdict == "promote"


@pytest.mark.parametrize("rule", [{"improve": ["m"]}, {"keep": {"m": 0.1}}, {"floor": {"m": 0.5}}])
@pytest.mark.parametrize("won", [0, 19])
def test_below_min_items_nothing_is_promoted_nor_rejected(rule, won):
    condition = judged(*counted(won, 19 - won, 19), **rule)
    assert condition.verdict == "hold_underpowered"
    assert "on 19 items: too few to tell, 20 with prompts of their own are needed (gate.min_items)" in condition.says
    assert condition.items_needed >= 20


@pytest.mark.parametrize(
    ("metric", "flips", "held"),
    [
        ("behaviour/x", 0.0, False),
        ("behaviour/x", 0.02, False),
        ("behaviour/x", 0.05, True),
        ("retention/x", 0.05, True),
        ("retention/neutral_text", 0.05, False),  # no answers are given there
        ("generations/sound", 0.05, False),
    ],
)
def test_what_is_kept_by_less_than_answers_flip_by_themselves_is_held(metric, flips, held):
    new, old = counted(4, 4, 100)  # at worst -0.05, where 0.09 may be lost
    before = decide({metric: new}, {metric: old}, Gate(improve=[], keep={metric: 0.09}))
    [condition] = before.conditions
    assert before.verdict == "promote"
    assert -0.06 < condition.low < -0.045
    after = beyond_noise(before, flips)
    assert after.verdict == ("hold_underpowered" if held else "promote")
    assert ("0.05 of the answers went from right to wrong or back when asked again" in after.reasons[0]) is held
    if not held:
        assert after == before


def test_a_gain_and_a_loss_that_is_shown_are_what_they_are_whatever_flips():
    gained = decide(*({"behaviour/x": side} for side in counted(20, 0, 100)), Gate(improve=["behaviour/x"]))
    lost = decide(*({"behaviour/x": side} for side in counted(0, 40, 100)), Gate(improve=[], keep={"behaviour/x": 0.1}))
    assert (beyond_noise(gained, 0.5), beyond_noise(lost, 0.5)) == (gained, lost)


def test_five_items_never_promote():
    assert judged(*counted(5, 0, 5), improve=["m"]).verdict == "hold_underpowered"


def test_a_test_that_cannot_reach_alpha_says_how_many_prompts_it_takes():
    # at alpha 0.0046 all of 7 won by chance is 1/128 = 0.0078; of 8 1/256 = 0.0039
    condition = judged(*counted(7, 0, 7), improve=["m"], min_items=5, looks=52)
    assert condition.verdict == "hold_underpowered"
    assert "about 8 with prompts of their own" in condition.says
    assert judged(*counted(8, 0, 8), improve=["m"], min_items=5, looks=52).verdict == "promote"


def test_many_pairs_of_one_prompt_are_one_item():
    assert judged(named([1] * 60, 20), named([0.5] * 60, 20), improve=["m"]).verdict == "hold_underpowered"
    one, four = (judged(*counted(36, 16, 160, size), improve=["m"]) for size in (1, 4))
    assert four.p > 2 * one.p  # blocks of four won, as they are sorted here


def test_no_difference_at_all_rules_out_only_what_so_many_items_can():
    """(1 - 0.02)^n: 0.45 for 40 items, 0.018 for 200, 0.0493 for 149."""
    kept = {n: judged(*counted(0, 0, n), keep={"m": 0.02}) for n in (40, 148, 149, 200)}
    assert {n: c.verdict for n, c in kept.items()} == {
        40: "hold_underpowered",
        148: "hold_underpowered",
        149: "promote",
        200: "promote",
    }
    assert kept[40].low == pytest.approx(-0.0722, abs=1e-4)  # 1 - 0.05^(1/40)


def test_a_regression_is_only_what_is_itself_shown():
    shown, open_ = judged(*counted(0, 20, 100), keep={"m": 0.05}), judged(*counted(2, 9, 100), keep={"m": 0.05})
    assert shown.verdict == "reject_regression"
    assert shown.high < -0.05
    assert open_.difference == -0.07
    assert open_.verdict == "hold_underpowered"
    assert judged(*counted(0, 20, 100), improve=["m"]).verdict == "reject_regression"


def test_a_smallest_effect_must_be_exceeded_beyond_chance():
    new, old = counted(30, 10, 300)  # +6.7 points, shown to be above 2.9
    assert judged(new, old, improve={"m": 0.02}).verdict == "promote"
    missed = judged(new, old, improve={"m": 0.05})
    assert missed.verdict == "hold_no_gain"
    assert "no gain by more than 0.05 beyond chance" in missed.says
    assert missed.low < 0.05


@pytest.mark.parametrize("gain", [0.5, 0.7])
def test_a_gain_that_no_items_can_show_is_held(gain):
    """Against a reference that ties with itself no more than one half can be gained."""
    assert judged(named([1] * 50), named([0.5] * 50), improve={"m": gain}).verdict == "hold_no_gain"


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_a_margin_that_no_items_can_lose_is_kept(margin):
    assert judged(named([0] * 50), named([0.5] * 50), keep={"m": margin}).verdict == "promote"


def test_a_floor_is_reached_where_its_lower_bound_is():
    verdicts = {right: judged(*counted(right, 0, right), floor={"m": 0.9}) for right in (20, 40)}
    assert [c.verdict for c in verdicts.values()] == ["hold_underpowered", "promote"]  # 0.05^(1/n): 0.861, 0.928
    assert verdicts[40].challenger_low == pytest.approx(0.05 ** (1 / 40))
    new, old = named([1] * 70 + [0] * 30), named([0] * 100)
    assert judged(new, old, floor={"m": 0.9}).verdict == "hold_no_gain"  # 0.77 at best


def test_looks_make_a_gain_harder_and_leave_what_is_kept_alone():
    new, old = counted(30, 14, 200)
    rules = Gate(improve=["m"], keep={"m": 0.05})
    once, often = (decide({"m": new}, {"m": old}, rules, looks=looks) for looks in (1, 52))
    assert [c.alpha for c in once.conditions] == [0.05, 0.05]
    assert [c.alpha for c in often.conditions] == [alpha_of_a_look(0.1, 52), 0.05]
    assert once.verdict == "promote"
    assert often.verdict == "hold_no_gain"


def test_two_looks_are_no_easier_than_one():
    assert judged(*counted(9, 1, 50), improve=["m"], looks=2).alpha == 0.05  # Dunnett alone would allow 0.057


def test_what_is_kept_is_kept_against_the_anchor_too():
    anchor = named([1] * 200)
    champion = named([1] * 188 + [0] * 12)
    new = named([1] * 176 + [0] * 24)  # six points below the champion, twelve below the anchor
    rules = Gate(improve=[], keep={"m": 0.1})
    assert decide({"m": new}, {"m": champion}, rules).verdict == "promote"
    held = decide({"m": new}, {"m": champion}, rules, anchor={"m": anchor})
    assert [(c.against, c.verdict) for c in held.conditions] == [
        ("baseline", "promote"),
        ("anchor", "hold_underpowered"),
    ]
    assert "m (against the anchor): 1 -> 0.88" in held.conditions[1].says


def test_an_anchor_that_was_not_measured_is_no_pass():
    new, old = counted(0, 0, 200)
    held = decide({"m": new}, {"m": old}, Gate(improve=[], keep={"m": 0.05}), anchor={})
    assert (held.verdict, held.reasons) == ("hold_underpowered", ["m was not measured (the anchor)"])


def test_items_left_out_are_counted_and_not_compared():
    new, old = counted(3, 1, 100)
    condition = judged(Scores(new.values, new.clusters, 7), Scores(old.values, old.clusters, 7), keep={"m": 0.1})
    assert (condition.items, condition.left_out) == (100, 7)
    assert "on 100 items, 7 left out that a model was trained on" in condition.says


@pytest.mark.parametrize(
    ("new", "verdict", "why"),
    [
        (None, "hold_underpowered", "m was not measured"),
        (Scores([], []), "hold_underpowered", "m was not measured"),
        (Scores([], [], 5), "hold_underpowered", "m was not measured: a model was trained on all 5 items"),
        (Scores([1.0], ["other"]), "hold_underpowered", "m was not measured on the same items"),
        (Scores([math.nan], ["0"]), "reject_regression", "m is not finite: the new model computes no number"),
        (Scores([math.inf], ["0"]), "reject_regression", "m is not finite: the new model computes no number"),
    ],
)
def test_evidence_that_cannot_be_used_never_passes(new, verdict, why):
    challenger = {} if new is None else {"m": new}
    decision = decide(challenger, {"m": Scores([0.0], ["0"])}, Gate(improve=["m"]))
    assert (decision.verdict, decision.reasons) == (verdict, [why])
    assert decision.conditions[0].p is None


def test_one_group_for_all_items_is_held():
    for rules in ({"improve": ["m"]}, {"keep": {"m": 0.1}}, {"floor": {"m": 0.1}}):
        condition = judged(*(Scores([float(x)] * 50, ["a"] * 50) for x in (1, 0)), **rules)
        assert condition.verdict == "hold_underpowered"
        assert "50 items of 1 prompt: too few to tell" in condition.says
        assert condition.low is None


@pytest.mark.parametrize("value", [0.0, 1.0, 0.25, -3.0])
def test_all_equal_is_no_gain(value):
    same = named([value] * 50)
    assert judged(same, same, improve=["m"]).verdict == "hold_no_gain"


def test_the_worst_condition_decides_and_its_reasons_are_given():
    new = {"gain": counted(50, 0, 100)[0], "kept": counted(0, 30, 100)[0]}
    old = {"gain": counted(50, 0, 100)[1], "kept": counted(0, 30, 100)[1]}
    decision = decide(new, old, Gate(improve=["gain"], keep={"kept": 0.05}))
    assert decision.verdict == "reject_regression"
    assert [reason.partition(":")[0] for reason in decision.reasons] == ["kept"]


def test_several_gains_that_must_all_be_found_say_how_often_that_happens():
    items = {name: counted(30, 0, 100)[0] for name in "abcde"}
    old = {name: counted(30, 0, 100)[1] for name in "abcde"}
    decision = decide(items, old, Gate(improve=list("abcde")))
    assert "all of them pass with probability 0.33" in decision.notes[0]  # 0.8^5
    assert decide(items, old, Gate(improve=["a"])).notes == []


# Every outcome has a sentence; each is read against the numbers of its condition.

VALUES = {
    "right or wrong": [
        counted(w, ell, n) for n in (10, 40, 200, 700) for w, ell in ((n // 4, 0), (0, 0), (2, n // 3), (3, 5))
    ],
    "wordings": [counted(w, ell, 160, 4) for w, ell in ((60, 4), (8, 12), (0, 80))],
    "margins": [
        (named(np.random.default_rng(i).normal(d, 1, n)), named([0] * n))
        for i, (d, n) in enumerate(((0.8, 60), (0.0, 60), (-0.9, 60), (0.05, 30)))
    ],
}
RULES = (
    {"improve": ["m"]},
    {"improve": {"m": 0.1}},
    {"keep": {"m": 0.02}},
    {"keep": {"m": 0.1}},
    {"keep": {"m": 0.0}},
    {"floor": {"m": 0.5}},
    {"floor": {"m": 0.95}},
)
SAYS = {  # what the sentence of each outcome begins its claim with, and what must then be so
    "better": lambda c: c.p <= c.alpha and c.low >= c.asked,
    "worse beyond chance": lambda c: c.rule == "improve" and c.high <= 0,
    "no gain": lambda c: c.rule == "improve" and c.p > c.alpha and (c.low or -1.0) <= c.asked and (c.high or 1.0) >= 0,
    "more is ruled out": lambda c: c.p <= c.alpha and c.low >= -c.asked,
    "lost more beyond chance": lambda c: c.rule == "keep" and c.high <= -c.asked,
    "more is not ruled out": lambda c: c.p > c.alpha and c.low <= -c.asked,
    "that is not shown": lambda c: c.challenger_low <= c.asked <= c.challenger_high,
    "too few to tell": lambda c: c.verdict == "hold_underpowered",
}


@pytest.fixture(scope="module")
def conditions():
    return [
        judged(new, old, min_items=few, looks=looks, **rules)
        for (new, old), rules, (few, looks) in itertools.product(
            itertools.chain(*VALUES.values()), RULES, ((20, 1), (5, 52), (2, 10_000))
        )
    ]


def numbers(text):
    return [float(found) for found in re.findall(r"[-+]?\d+\.?\d*(?:e-?\d+)?", text)]


@pytest.mark.parametrize("claim", SAYS)
def test_each_claim_of_a_sentence_is_so(claim, conditions):
    claimed = [condition for condition in conditions if claim in condition.says]
    assert claimed
    assert [c.says for c in claimed if not SAYS[claim](c)] == []


def test_every_outcome_is_met_here_and_the_numbers_in_sentences_are_the_conditions(conditions):
    outcomes = set()
    for c in conditions:
        before, after, items = numbers(c.says.partition(": ")[2])[:3]
        assert (before, after) == (
            pytest.approx(c.baseline, rel=1e-3, abs=1e-6),
            pytest.approx(c.challenger, rel=1e-3, abs=1e-6),
        )
        assert items == c.items
        if found := re.search(r"change is ([-+][\d.e-]+) at (worst|best)", c.says):
            assert float(found[1]) == pytest.approx(c.low if found[2] == "worst" else c.high, rel=1e-3, abs=1e-6)
        if found := re.search(r"about (\d+) items", c.says):
            assert int(found[1]) == c.items_needed
            assert int(found[1]) > c.items or c.rule != "keep"
        outcomes.add((c.rule, c.verdict, "4 of 5 such measurements" in c.says, "p would still" in c.says))
    assert len(outcomes) >= 10
    assert {c.verdict for c in conditions} == set(VERDICTS.values())


def test_a_condition_holds_where_p_is_within_alpha_and_bounds_say_the_same(conditions):
    for c in conditions:
        if c.verdict == "promote":
            assert c.p <= c.alpha
        limit = {"improve": c.asked, "keep": -c.asked}.get(c.rule)
        if limit is not None and c.low is not None:  # none: fewer resamples than such an alpha takes
            assert (c.low >= limit) == (c.p <= c.alpha)


@pytest.mark.parametrize(("n", "share", "margin"), [(72, 0.1, 0.05), (200, 0.2, 0.05), (1000, 0.2, 0.02)])
def test_a_model_that_is_worse_by_the_margin_is_promoted_in_alpha_at_most(n, share, margin):
    """The gate is asked where its verdict changes; the probability beyond that is added up, not simulated."""
    w, ell = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    chance = stats.multinomial.pmf(
        np.stack([w, ell, n - w - ell], axis=1), n, [(share - margin) / 2, (share + margin) / 2, 1 - share]
    )
    w, ell, chance = (x[chance > 1e-8] for x in (w, ell, chance))
    t = score(w, ell, n, -margin)
    order = np.argsort(-t)
    first, last = 0, len(order)
    while first < last:
        i = order[(first + last) // 2]
        held = judged(*counted(int(w[i]), int(ell[i]), n), keep={"m": margin}).verdict != "promote"
        first, last = (first, (first + last) // 2) if held else ((first + last) // 2 + 1, last)
    passed = chance[t >= t[order[first - 1]] - 1e-9].sum()
    assert 0.02 < passed <= 0.0505  # above 500 items the normal approximation: within half a per cent of alpha


# Rules that cannot be meant.


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"improve": []}, "no metric is named"),
        ({"improve": ["m", "m"]}, "m stands twice"),
        ({"improve": {"m": -0.1}}, "0 or more"),
        ({"improve": {"m": math.inf}}, "0 or more"),
        ({"improve": "m"}, "write a list of metrics"),
        ({"alpha": 0.0}, "greater than 0"),
        ({"alpha": 1.0}, "less than 0.5"),
        ({"alpha_year": 1.0}, "less than 0.5"),
        ({"alpha": math.nan}, "less than 0.5"),
        ({"keep": {"m": math.inf}}, "finite number"),
        ({"keep": {"m": math.nan}}, "finite number"),
        ({"keep": {"m": -0.1}}, "greater than or equal to 0"),
        ({"floor": {"m": math.nan}}, "finite number"),
        ({"min_items": 0}, "greater than or equal to 1"),
        ({"keep": {"behaviour/x": 1.0}}, "allows any loss"),
        ({"floor": {"rewards/accuracies": 1.0}}, "can never be shown"),
        ({"improve": {"retention/x": 2.0}}, "can never be shown"),
        ({"keep": {"answers/win_rate_equal_length": 0.1}}, "floor: {answers/win_rate_equal_length: 0.4}"),
        ({"improved": ["m"]}, "Extra inputs"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules, why):
    with pytest.raises(ValidationError, match=why):
        Gate(**rules)


def test_rules_that_seem_odd_and_are_not():
    assert Gate(improve=["m"], keep={"m": 0.1}).gains == {"m": 0.0}
    assert Gate(improve=[], floor={"m": 3.0, "retention/neutral_text": -2.0}).gains == {}
    assert Gate(improve={"m": 0.02}).gains == {"m": 0.02}


@pytest.mark.parametrize("least", [-0.2, 0.0])
@pytest.mark.parametrize("right", [0, 20])
def test_a_floor_at_or_below_what_the_metric_can_be_is_met_by_every_model(least, right):
    """As of a score from -1 to 1, or a less-is-better one, whose values all happen to lie between 0 and 1."""
    new, old = counted(right, 0, 40 - right) if right else counted(0, 0, 40)
    assert judged(new, old, floor={"m": least}).verdict == "promote"

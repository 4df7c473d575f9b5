"""When a model that learns from its own answers has run away: each rule by itself, and none where nothing moves."""

import math

import pytest

from dpo_core.curate.online.curves import OnlineFacts, ran_away
from dpo_core.recipe_online import OnlineStop

STEADY = {"words": 10.0, "tokens": 20.0, "distinct": 0.8, "openings": 2.0, "informative": 0.5, "reward": 0.4}
STEADY |= {"spread": 0.3, "entropy": 1.5, "kl": 0.1}
RULES = OnlineStop(window=16)


def drawings(*changes, prompts=8):
    """A drawing every 4 steps, of 8 prompts each: what differs in it from a steady one."""
    counts = {"answers": 32, "prompts": prompts, "pairs": 4}
    return [OnlineFacts(number=4 * place, **counts, **STEADY | change) for place, change in enumerate(changes)]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"tokens": 31.0}, "longer"),
        ({"tokens": 13.0}, "longer"),
        ({"distinct": 0.55}, "distinct"),
        ({"openings": 0.9}, "openings"),
        ({"entropy": 0.3}, "entropy"),
        ({"kl": 1.1}, "kl"),
        ({"reward": 0.05}, "reward"),
        ({"informative": 0.04}, "informative"),
    ],
)
def test_each_rule_stops_for_its_own_reason_and_names_the_step_and_its_key(change, rule):
    (told,) = ran_away(drawings({}, {}, {}, change, change), RULES)
    assert told.startswith("step 16: ")
    assert told.endswith(f"(training.online.stop.{rule})")
    assert ran_away(drawings({}, {}, {}, {}, change), RULES) == []  # one of two drawings: half the way there


def test_answers_that_stay_as_they_are_stop_nothing():
    assert ran_away(drawings(*[{}] * 9), RULES) == []


def test_nothing_is_compared_before_there_are_twice_as_many_prompts_as_are_looked_at_together():
    assert ran_away(drawings({}, {}, {"tokens": 99.0}), RULES) == []
    assert ran_away(drawings({"kl": 2.0}), RULES) == []
    assert len(ran_away(drawings({"kl": 2.0}, {"kl": 2.0}), RULES)) == 1


def test_what_is_not_known_stops_nothing():
    unknown = {"kl": math.nan, "entropy": math.nan, "distinct": math.nan}
    assert ran_away(drawings(*[unknown] * 6), RULES) == []

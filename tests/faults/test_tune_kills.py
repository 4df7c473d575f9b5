"""kill -9 of a whole `dpo tune` at moments drawn by lot: the same trials, the same recommendation, none tried twice."""

import random
import time

import pytest

from tests.faults.searching import Searched, keeps_its_promises
from tests.recipes import tiny_recipe

KILLS = 20
SEARCH = {
    "trials": 3,
    "share": 0.2,
    "answers": 2,
    "space": {"training.learning_rate": {"low": 1e-4, "high": 3e-2}, "training.beta": [0.05, 0.1, 0.3]},
    "constraints": {"retention/facts": 0.4, "drift": 9.0},
}


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_a_search_killed_twenty_times_ends_with_the_same_best_trial_and_does_nothing_twice(
    tmp_path, forkserver, record
):
    recipe = tiny_recipe(tmp_path / "recipe", tune=SEARCH, training={"max_steps": 12})
    undisturbed, killed = (Searched(tmp_path / name, recipe, forkserver) for name in ("undisturbed", "killed"))
    began = time.monotonic()
    expected = undisturbed.complete()
    trainings = len(undisturbed.keys("judged"))
    one = (time.monotonic() - began) / trainings
    draw, fell, ended, at = random.Random(0), 0, 0, []
    while fell < KILLS:
        if killed.killed(draw.choice((0, 0, 1, 1, 2)), draw.uniform(0, one)):
            fell += 1
            at.append(len(killed.keys("judged")))
        else:
            ended += 1
    seconds = round(time.monotonic() - began, 1)
    record(what="tune kill", seed=0, kills=fell, ended_before_a_kill=ended, seconds_of_kills=seconds)
    record(trainings=trainings, trainings_done_at_each_kill=at)
    found = killed.complete()
    keeps_its_promises(killed, found, expected)
    assert killed.keys("judged") == undisturbed.keys("judged")
    assert killed.keys("asked") == undisturbed.keys("asked")
    assert len(killed.keys("asked")) == 192, "both answers of 96 pairs"

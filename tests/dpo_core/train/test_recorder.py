"""The flight recorder names steps that stand out and the rows that were in them, and no others."""

import random

import pytest

from dpo_core.report.documents import JumpedRow
from dpo_core.train.loop import Step
from dpo_core.train.recorder import FEWEST, ROWS, FlightRecorder


def flown(values, known=(), first=0):
    """A recorder that has seen these (loss, gradient norm, displacement); each step has pairs of its own."""
    recorder, history = FlightRecorder(known), []
    for number, (loss, norm, drift) in enumerate(values, 1):
        history.append({"loss": loss, "grad_norm": norm, "displacement": drift})
        rows = [JumpedRow(id=f"{number}-{place}", where="", loss=place % 7) for place in range(10)]
        if number > first:
            recorder.add(Step(number, len(values), 10, 0, history[-1], rows), history)
    return recorder.jumps


def quiet(steps, seed):
    """A training as it should be: the loss falls, gradients shrink by fits and starts, answers drift steadily."""
    draw = random.Random(seed)
    return [
        (0.7 * 0.99**n + draw.gauss(0, 0.03), 5 * draw.lognormvariate(0, 0.4), 0.002 * n + draw.gauss(0, 0.01))
        for n in range(steps)
    ]


def test_a_quiet_training_is_left_alone_in_nineteen_of_twenty():
    # 400 of 400,000 steps would be one a training of a thousand steps: found are far fewer
    alarms = [len(flown(quiet(300, seed))) for seed in range(20)]
    assert sum(map(bool, alarms)) <= 1


@pytest.mark.parametrize(("place", "name", "size"), [(0, "loss", 2.0), (1, "grad_norm", 400.0), (2, "displacement", 3)])
def test_a_planted_jump_is_named_with_its_metric_and_with_its_rows_worst_first(place, name, size):
    values = quiet(60, 1)
    values[40] = tuple(size if i == place else value for i, value in enumerate(values[40]))
    [jump] = flown(values)
    assert (jump.step, jump.last, list(jump.metrics), jump.pairs) == (41, 41, [name], 10)
    assert [row.id for row in jump.rows[:3]] == ["41-6", "41-5", "41-4"]
    assert len(jump.rows) == ROWS
    assert jump.metrics[name].value == size
    assert jump.metrics[name].usual < size / 2


def test_a_jump_that_goes_on_is_one_and_one_bad_step_hides_no_other():
    values = quiet(80, 2)
    for n in (30, 31, 32, 50):
        values[n] = (4.0, *values[n][1:])
    assert [(jump.step, jump.last) for jump in flown(values)] == [(31, 33), (51, 51)]


def test_the_first_steps_have_nothing_to_be_compared_with():
    assert flown([(0.7, 1.0, 0.0)] * (FEWEST - 1) + [(90.0, 1.0, 0.0)]) == []
    assert len(flown([(0.7, 1.0, 0.0)] * FEWEST + [(90.0, 1.0, 0.0)])) == 1


def test_gone_on_with_from_a_checkpoint_it_tells_what_it_would_have_told():
    values = quiet(60, 3)
    values[25], values[26], values[45] = [(5.0, *values[n][1:]) for n in (25, 26, 45)]
    whole = flown(values)
    assert flown(values, known=flown(values[:26]), first=26) == whole

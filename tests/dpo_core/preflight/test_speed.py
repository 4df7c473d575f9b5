"""What a step of the whole model takes, from steps of one layer and of three."""

from dataclasses import replace

import pytest

from dpo_core.data.pairs import Example
from dpo_core.model.logprobs import Method
from dpo_core.preflight import speed
from dpo_core.preflight.operations import NOTHING, Costs, rows_of_step
from dpo_core.preflight.speed import measure_speed
from dpo_core.recipe import Training

LAYER_S, BESIDE_S, KERNELS_S, UPDATE_S = 0.5, 1.0, 3.0, 0.25
COSTS = Costs(token=100.0, seen=2.0, target=10.0, layers=12)
BATCHES = [[Example(str(i), (5,) * (3 + i), (8, 9), (9, 8, 8), None, None)] for i in range(4)]


def machine(seen):
    """Stands for a model of few layers in training: its seconds are known, kernels are made for each new batch once."""

    class Machine:
        method = Method("shared", head=True)

        def __init__(self, layers, *_):
            self.layers = layers

        def seconds(self, batch):
            first = batch[0].id not in seen
            seen.add(batch[0].id)
            rows = self.layers * LAYER_S + BESIDE_S + first * KERNELS_S
            return speed._Seconds(rows, self.layers * UPDATE_S, rows / 2)

    return Machine


@pytest.mark.parametrize("layers", [12, 1])
def test_kernels_that_are_made_for_a_shape_count_once_a_step_whatever_the_number_of_layers(monkeypatch, layers):
    monkeypatch.setattr(speed, "_Model", machine(set()))
    costs, training = replace(COSTS, layers=layers), Training(dtype="bfloat16")
    found, method = measure_speed(lambda count: count, BATCHES, training, costs, None)
    work = NOTHING
    for batch in BATCHES:
        for rows in rows_of_step(batch, training, ranks=1, share=method.share):
            work = work.plus(costs.rows(rows, share=method.share))
    warmed = 1  # the batch that warmed up has its kernels
    expected = 4 * (layers * LAYER_S + BESIDE_S) + (4 - warmed) * KERNELS_S
    assert found.train.seconds(work) == pytest.approx(expected)
    assert found.update_s == pytest.approx(layers * UPDATE_S)

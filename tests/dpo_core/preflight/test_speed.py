"""What a step of the whole model takes, from steps of one layer and of a few."""

import pytest

from dpo_core.data.pairs import Example
from dpo_core.model.logprobs import Method
from dpo_core.preflight import speed
from dpo_core.preflight.operations import NOTHING, Costs, rows_of_step
from dpo_core.preflight.speed import layer_counts, measure_speed
from dpo_core.recipe import Training

LAYER_S, BESIDE_S, KERNELS_S, UPDATE_S = 0.5, 1.0, 3.0, 0.25
COSTS = Costs(token=100.0, seen=2.0, target=10.0, layers=12)
BATCHES = [[Example(f"{i} {k}", (5,) * (3 + i + k), (8, 9), (9, 8, 8), None, None) for k in range(2)] for i in range(4)]


def machine(seen, *, makes_kernels):
    """Stands for a model of few layers in training: its seconds are known, kernels are made for each new batch once."""

    class Machine:
        method = Method("shared", head=True)
        state = 7

        def __init__(self, layers, *_):
            self.layers = layers

        def seconds(self, batch):
            shape = tuple(pair.id for pair in batch)
            first = makes_kernels and shape not in seen
            seen.add(shape)
            rows = self.layers * LAYER_S + BESIDE_S + first * KERNELS_S
            return speed._Seconds(rows, self.layers * UPDATE_S, rows / 2)

    return Machine


@pytest.mark.parametrize(("dtype", "kernels_s"), [("bfloat16", KERNELS_S), ("float32", 0.0)])
def test_kernels_that_are_made_for_a_shape_count_once_a_step_whatever_the_number_of_layers(
    monkeypatch, dtype, kernels_s
):
    monkeypatch.setattr(speed, "_Model", machine(set(), makes_kernels=dtype == "bfloat16"))
    training = Training(dtype=dtype)
    found, method = measure_speed(lambda count: count, BATCHES, training, COSTS, None)
    work = NOTHING
    for batch in BATCHES:
        for rows in rows_of_step(batch, training, ranks=1, share=method.share):
            work = work.plus(COSTS.rows(rows, share=method.share))
    assert found.train.layers * work.layers == pytest.approx(4 * COSTS.layers * LAYER_S)
    assert found.train.head * work.head == pytest.approx(4 * (BESIDE_S + kernels_s))
    assert found.update_s == pytest.approx(COSTS.layers * UPDATE_S)
    assert found.state == 2 * 7


@pytest.mark.parametrize(
    ("layers", "head", "counts"),
    [(30, 0.5, [1, 3]), (30, 5.2, [1, 6]), (30, 40.0, [1, 8]), (5, 40.0, [1, 5]), (2, 0.5, [1, 2]), (1, 40.0, [1])],
)
def test_as_many_layers_are_timed_as_weigh_what_the_head_does_and_no_more_than_there_are(layers, head, counts):
    layer = 100.0  # operations a token
    assert layer_counts(Costs(token=layers * layer, seen=2.0, target=head * layer, layers=layers)) == counts

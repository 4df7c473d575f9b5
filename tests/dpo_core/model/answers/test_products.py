"""Products with the weight on the left: the same numbers but for rounding, and no trace once they are over."""

import pytest
import torch
from torch import nn

from dpo_core.model.answers.products import MOST, weights_first


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 24), (5, 1, 24), (7, 24), (2, MOST, 24)])
def test_a_layer_gives_what_it_gives_without(shape, bias):
    torch.manual_seed(0)
    layer, rows = nn.Linear(24, 40, bias=bias), torch.randn(shape)
    plain = layer(rows)
    with weights_first(layer):
        found = layer(rows)
    assert found.shape == plain.shape
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)


def test_few_rows_are_multiplied_the_other_way_round_and_many_as_ever():
    layer = nn.Linear(24, 40)
    with weights_first(layer):
        few, many = layer(torch.randn(MOST, 24)), layer(torch.randn(MOST + 1, 24))
    assert few.stride() == (1, MOST)
    assert many.stride() == (40, 1)


def test_layers_of_other_kinds_and_of_other_types_of_number_are_left_alone_and_nothing_stays_behind():
    class Own(nn.Linear):
        pass

    layers = nn.ModuleList([nn.Linear(4, 4), Own(4, 4), nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4)])
    layers[3].forward = hooked = lambda rows: rows
    with weights_first(layers):
        assert ["forward" in vars(layer) for layer in layers] == [True, False, False, True]
        assert layers[3].forward is hooked
    assert ["forward" in vars(layer) for layer in layers] == [False, False, False, True]
    with torch.autocast("cpu", torch.bfloat16), weights_first(layers):
        assert "forward" not in vars(layers[0])

"""Products by oneDNN: the same numbers but for rounding, and no trace once they are over."""

import pytest
import torch
from torch import nn

from dpo_core.model.answers.products import onednn_products


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 24), (5, 1, 24), (7, 24), (2, 300, 24), (0, 1, 24)])
@torch.no_grad()
def test_a_layer_gives_what_it_gives_without(shape, bias):
    torch.manual_seed(0)
    layer, rows = nn.Linear(24, 40, bias=bias), torch.randn(shape)
    turned = rows.transpose(0, 1).contiguous().transpose(0, 1)  # the same numbers, laid out another way
    plain = layer(rows)
    with onednn_products(layer):
        found, again = layer(rows), layer(turned)
    assert found.shape == plain.shape
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(again, plain, rtol=1e-5, atol=1e-6)


def test_the_products_are_onednns():
    layer, rows = nn.Linear(24, 40), torch.randn(5, 24)
    with onednn_products(layer), torch.profiler.profile() as profile, torch.no_grad():
        layer(rows)
    assert "mkldnn::_linear_pointwise" in {event.key for event in profile.key_averages()}


def test_layers_of_other_kinds_and_of_other_types_of_number_are_left_alone_and_nothing_stays_behind():
    class Own(nn.Linear):
        pass

    layers = nn.ModuleList([nn.Linear(4, 4), Own(4, 4), nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4)])
    layers[3].forward = hooked = lambda rows: rows
    with onednn_products(layers):
        assert ["forward" in vars(layer) for layer in layers] == [True, False, False, True]
        assert layers[3].forward is hooked
    assert ["forward" in vars(layer) for layer in layers] == [False, False, False, True]
    with torch.autocast("cpu", torch.bfloat16), onednn_products(layers):
        assert "forward" not in vars(layers[0])

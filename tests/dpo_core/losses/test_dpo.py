import math

import pytest
import torch

from dpo_core.losses.dpo import dpo_loss, sft_loss


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_loss_matches_equation_7_by_hand():
    # margin = 0.1 * ((-10 - -10.1) - (-30 - -20.1)) = 0.1 * (0.1 + 9.9) = 1, so loss = ln(1 + e^-1) = 0.3132617
    terms = dpo_loss(column(-10.0), column(-30.0), column(-10.1), column(-20.1), beta=0.1)
    assert terms.loss.item() == pytest.approx(0.31326168751822286, abs=1e-12)
    assert terms.chosen_rewards.item() == pytest.approx(0.01)
    assert terms.rejected_rewards.item() == pytest.approx(-0.99)


def test_a_policy_equal_to_its_reference_costs_ln_2():
    logps = column(-12.5, -300.0), column(-7.0, -1.0)
    assert dpo_loss(*logps, *logps, beta=0.3).loss.tolist() == pytest.approx([math.log(2)] * 2, abs=1e-15)


def test_loss_is_finite_and_linear_where_the_margin_is_hugely_negative():
    # -log sigmoid(-x) = x + log(1 + e^-x) -> x: a naive log(sigmoid) would give infinity
    loss = dpo_loss(column(-5000.0), column(0.0), column(0.0), column(0.0), beta=1.0).loss
    assert loss.item() == pytest.approx(5000.0)


def test_gradient_pushes_chosen_up_and_rejected_down_by_equal_amounts():
    # d loss / d log pi(chosen) = -beta * sigmoid(-margin) = -0.1 * 0.5 at margin 0
    chosen, rejected = column(-3.0).requires_grad_(), column(-4.0).requires_grad_()
    dpo_loss(chosen, rejected, column(-3.0), column(-4.0), beta=0.1).loss.sum().backward()
    assert chosen.grad.item() == pytest.approx(-0.05)
    assert rejected.grad.item() == pytest.approx(0.05)


def test_every_metric_has_trls_name_and_a_tie_counts_half():
    # log-ratios: chosen 2 and 1, rejected -2 and 1; beta 0.5 makes margins 0.5 * 4 = 2 and 0
    logps = column(-8.0, -5.0), column(-12.0, -7.0)
    metrics = dpo_loss(*logps, column(-10.0, -6.0), column(-10.0, -8.0), beta=0.5).named()
    assert {name: values.tolist() for name, values in metrics.items() if name != "loss"} == {
        "rewards/chosen": [1.0, 0.5],
        "rewards/rejected": [-1.0, 0.5],
        "rewards/accuracies": [1.0, 0.5],
        "rewards/margins": [2.0, 0.0],
        "logps/chosen": [-8.0, -5.0],
        "logps/rejected": [-12.0, -7.0],
        "logratios/chosen": [2.0, 1.0],
        "logratios/rejected": [-2.0, 1.0],
    }


def test_only_the_loss_carries_a_gradient():
    policy = column(-3.0).requires_grad_()
    metrics = dpo_loss(policy, column(-4.0), column(-3.0), column(-4.0), beta=0.1)
    assert [name for name, values in metrics.named().items() if values.requires_grad] == ["loss"]


def test_sft_term_is_nats_per_token():
    assert sft_loss(column(-6.0), column(4.0)).item() == 1.5


def test_a_wrong_shape_is_refused():
    with pytest.raises(Exception, match=r"(?i)type-check"):
        dpo_loss(column(1.0, 2.0), column(1.0), column(1.0), column(1.0), beta=0.1)

"""Losses on sequence log-probs: per-pair values, the caller averages."""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class DPOTerms(NamedTuple):
    """Per pair: loss, and the two rewards (detached) that every report shows."""

    loss: Float[Tensor, " B"]
    chosen_reward: Float[Tensor, " B"]
    rejected_reward: Float[Tensor, " B"]


def dpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    reference_chosen: Float[Tensor, " B"],
    reference_rejected: Float[Tensor, " B"],
    *,
    beta: float,
) -> DPOTerms:
    """Sigmoid DPO, Rafailov et al. 2023, eq. 7 (arXiv:2305.18290).

    Inputs are log p(response | prompt) in nats, summed over response tokens, not averaged.
    """
    chosen_logratio = policy_chosen - reference_chosen
    rejected_logratio = policy_rejected - reference_rejected
    loss = -F.logsigmoid(beta * (chosen_logratio - rejected_logratio))
    return DPOTerms(loss, beta * chosen_logratio.detach(), beta * rejected_logratio.detach())


def sft_loss(policy_chosen: Float[Tensor, " B"], lengths: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Mean token NLL of the chosen response, in nats per token (the NLL term of RPO, arXiv:2404.19733, eq. 1)."""
    return -policy_chosen / lengths

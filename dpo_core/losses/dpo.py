"""Sigmoid DPO and what it says of each pair: the yardstick of every model, whatever loss it was trained with."""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

DPO_METRICS = (  # TRL's names, in the order of PairMetrics
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
    "logratios/chosen",
    "logratios/rejected",
)


class PairMetrics(NamedTuple):
    """What DPO says about each of B pairs; all but the loss detached. Log-probs, log-ratios, rewards are in nats."""

    loss: Float[Tensor, " B"]
    chosen_rewards: Float[Tensor, " B"]  # beta * log-ratio
    rejected_rewards: Float[Tensor, " B"]
    accuracies: Float[Tensor, " B"]  # 1 where the chosen answer's reward is higher; a tie is a half
    margins: Float[Tensor, " B"]  # the loss is -log sigmoid of it
    chosen_logps: Float[Tensor, " B"]
    rejected_logps: Float[Tensor, " B"]
    chosen_logratios: Float[Tensor, " B"]  # log policy / reference
    rejected_logratios: Float[Tensor, " B"]

    def named(self) -> dict[str, Float[Tensor, " B"]]:
        """By TRL's names."""
        return dict(zip(DPO_METRICS, self, strict=True))


def dpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    reference_chosen: Float[Tensor, " B"],
    reference_rejected: Float[Tensor, " B"],
    *,
    beta: float,
) -> PairMetrics:
    """Sigmoid DPO, Rafailov et al. 2023, eq. 7 (arXiv:2305.18290), and the rewards of its eq. 5.

    Inputs are log p(response | prompt) in nats, summed over response tokens, not averaged. `beta` acts once, inside the
    sigmoid: it turns log-ratios (nats) into rewards, and is no factor of the loss.
    """
    chosen_logratio = policy_chosen - reference_chosen
    rejected_logratio = policy_rejected - reference_rejected
    margin = beta * (chosen_logratio - rejected_logratio)
    loss = smoothed(margin)
    margin = margin.detach()
    return PairMetrics(
        loss,
        beta * chosen_logratio.detach(),
        beta * rejected_logratio.detach(),
        (margin > 0).double() + 0.5 * (margin == 0).double(),
        margin,
        policy_chosen.detach(),
        policy_rejected.detach(),
        chosen_logratio.detach(),
        rejected_logratio.detach(),
    )


def smoothed(margin: Float[Tensor, " B"], smoothing: float = 0.0) -> Float[Tensor, " B"]:
    """-log sigmoid of a margin that is of the other sign with chance `smoothing`."""
    right = -F.logsigmoid(margin)
    return (1 - smoothing) * right - smoothing * F.logsigmoid(-margin) if smoothing else right


def sft_loss(policy_chosen: Float[Tensor, " B"], lengths: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Mean token NLL of the chosen response, in nats per token (the NLL term of RPO, arXiv:2404.19733, eq. 1)."""
    return -policy_chosen / lengths

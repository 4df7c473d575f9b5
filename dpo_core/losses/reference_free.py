"""Losses of the policy alone: no reference is scored for them."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_core.losses.dpo import smoothed
from dpo_core.losses.sides import Side


def simpo(
    chosen: Side, rejected: Side, *, beta: float, simpo_gamma: float = 0.5, label_smoothing: float = 0.0
) -> Float[Tensor, " B"]:
    """-log s(beta (log p_w / |y_w| - log p_l / |y_l|) - gamma): SimPO, Meng et al. 2024, eq. 6 (arXiv:2405.14734).

    beta is a reward per nat a token, 2 to 10 in the paper. Smoothing as in `sigmoid`: TRL's CPOTrainer has it, the
    paper has not.
    """
    margin = beta * (chosen.logps / chosen.tokens - rejected.logps / rejected.tokens) - simpo_gamma
    return smoothed(margin, label_smoothing)


def orpo(chosen: Side, rejected: Side, *, beta: float) -> Float[Tensor, " B"]:
    """-beta log s(log odds_w - log odds_l), odds of the mean token: ORPO, Hong et al. 2024, eq. 7 (arXiv:2403.07691).

    odds = p / (1 - p) with log p the answer's mean token log-prob; beta is the paper's lambda. The NLL term of its
    eq. 6 is training.sft_weight, a mean over each answer; TRL's ORPOTrainer averages it over the tokens of its
    micro-batch, prompts included.
    """
    odds = [side.logps / side.tokens - _log1mexp(side.logps / side.tokens) for side in (chosen, rejected)]
    return -beta * F.logsigmoid(odds[0] - odds[1])


def _log1mexp(values: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """log(1 - exp(x)) of x < 0; of 0, a probability of 1, as if it were 1 - 2e-16."""
    values = values.clamp(max=-torch.finfo(torch.float64).eps)
    return torch.log(-torch.expm1(values))

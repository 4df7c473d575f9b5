"""What a loss is a function of: log-probs, lengths and scores of the chosen and of the rejected answers."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LARGEST = 80.0  # exponents are cut there, as TRL cuts them: e^80 is a number of fp32


class Side(NamedTuple):
    """One side of B pairs. Log-probs are in nats and summed over an answer's tokens, never averaged."""

    logps: Float[Tensor, " B"]  # under the policy
    reference: Float[Tensor, " B"]  # under the reference; NaN where the loss has none
    tokens: Float[Tensor, " B"]  # length of the answer
    scores: Float[Tensor, " B"]  # log-ratio, or what the f-divergence makes of it

    @property
    def logratios(self) -> Float[Tensor, " B"]:
        """Log of policy over reference, in nats."""
        return self.logps - self.reference


def side_of(
    logps: Float[Tensor, " B"],
    reference: Float[Tensor, " B"],
    tokens: Float[Tensor, " B"],
    *,
    divergence: str | None = None,
    coefficient: float | None = None,
) -> Side:
    """A side with its scores: log-ratios, or those of another f-divergence than the reverse KL."""
    return Side(logps, reference, tokens, scores_of(logps - reference, divergence, coefficient))


def scores_of(
    logratios: Float[Tensor, " B"], divergence: str | None = None, coefficient: float | None = None
) -> Float[Tensor, " B"]:
    """f'(u) of u = policy / reference, up to a constant: f-DPO, Wang et al. 2023 (arXiv:2309.16240).

    reverse_kl: log u. forward_kl: 1 - 1/u. js_divergence: log(2u / (1 + u)). alpha_divergence:
    (u^(c - 1) - 1) / (c - 1) with c the `coefficient`, TRL's f_alpha_divergence_coef (0.5 unless given), which is
    1 - alpha of the paper: c = 0 is the forward and c = 1 the reverse KL. Constants cancel in the difference of two
    scores. Exponents above 80 nats are cut, of every kind; TRL cuts those of alpha_divergence and has no fp64.
    """
    if divergence in (None, "reverse_kl"):
        return logratios
    if divergence == "forward_kl":
        return 1 - (-logratios).clamp(max=LARGEST).exp()
    if divergence == "js_divergence":
        return math.log(2) + F.logsigmoid(logratios)
    if divergence != "alpha_divergence":
        raise ValueError(f"no f-divergence is called {divergence}")
    power = (0.5 if coefficient is None else coefficient) - 1
    if abs(power) < 1e-6:
        return logratios
    return torch.expm1((power * logratios).clamp(max=LARGEST)) / power

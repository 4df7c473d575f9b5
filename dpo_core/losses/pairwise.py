"""Losses against a reference: each a function of the two sides, with one value a pair.

Names are TRL's. `beta` turns nats of log-ratio into rewards, as in DPO, unless the docstring says what else it does.
h: the difference of the sides' scores; r: a side's log-ratio; |y|: an answer's length in tokens.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dpo_core.losses.dpo import smoothed
from dpo_core.losses.sides import Side


def sigmoid(chosen: Side, rejected: Side, *, beta: float, label_smoothing: float = 0.0) -> Float[Tensor, " B"]:
    """-(1 - e) log s(beta h) - e log s(-beta h): DPO, Rafailov et al. 2023, eq. 7 (arXiv:2305.18290).

    With e > 0 it is conservative DPO, eq. 3 of Mitchell's note on noisy labels (2023). TRL 1.16 accepts a
    label_smoothing beside its `sigmoid` and does nothing with it.
    """
    return smoothed(beta * (chosen.scores - rejected.scores), label_smoothing)


def sigmoid_norm(chosen: Side, rejected: Side, *, beta: float, label_smoothing: float = 0.0) -> Float[Tensor, " B"]:
    """`sigmoid` of scores per token: length-normalised DPO of Tulu 3, Lambert et al. 2024 (arXiv:2411.15124).

    Its beta is 5; TRL cites SimPO's appendix for the same form.
    """
    return smoothed(beta * _per_token(chosen, rejected), label_smoothing)


def hinge(chosen: Side, rejected: Side, *, beta: float) -> Float[Tensor, " B"]:
    """max(0, 1 - beta h): SLiC's calibration (arXiv:2305.10425) on DPO's margin, Liu et al. 2023 (arXiv:2309.06657).

    SLiC itself compares the policy's own log-probs; both papers and TRL agree on the form here.
    """
    return torch.relu(1 - beta * (chosen.scores - rejected.scores))


def ipo(chosen: Side, rejected: Side, *, beta: float) -> Float[Tensor, " B"]:
    """(h per token - 1 / (2 beta))^2: IPO, Azar et al. 2023, eq. 17 (arXiv:2310.12036); beta is its tau.

    The paper writes sums over the answers; TRL divides each score by its answer's length, which the authors confirmed
    to it as what their results were made with. So it is here.
    """
    return (_per_token(chosen, rejected) - 1 / (2 * beta)).square()


def robust(chosen: Side, rejected: Side, *, beta: float, label_smoothing: float = 0.1) -> Float[Tensor, " B"]:
    """(-(1 - e) log s(beta h) + e log s(-beta h)) / (1 - 2e): robust DPO, Ray Chowdhury et al. 2024 (arXiv:2403.00409).

    Unbiased where a share e of the labels is swapped; it may be negative. TRL's e is 0 unless set, which is `sigmoid`.
    """
    margin = beta * (chosen.scores - rejected.scores)
    right, wrong = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    return ((1 - label_smoothing) * right - label_smoothing * wrong) / (1 - 2 * label_smoothing)


def exo_pair(chosen: Side, rejected: Side, *, beta: float, label_smoothing: float = 1e-3) -> Float[Tensor, " B"]:
    """KL(q || (1 - e, e)) with q = (s(beta h), s(-beta h)): EXO, Ji et al. 2024, eq. 16 (arXiv:2402.00856)."""
    margin = beta * (chosen.scores - rejected.scores)
    log_right, log_wrong = F.logsigmoid(margin), F.logsigmoid(-margin)
    smoothing = torch.tensor(label_smoothing, dtype=margin.dtype, device=margin.device)
    return log_right.exp() * (log_right - torch.log1p(-smoothing)) + log_wrong.exp() * (log_wrong - smoothing.log())


def discopop(chosen: Side, rejected: Side, *, beta: float, discopop_tau: float = 0.05) -> Float[Tensor, " B"]:
    """-(1 - m) log s(x) + m exp(-x), x = beta h, m = s(x / tau): Lu et al. 2024, eq. 5 (arXiv:2406.08414).

    m exp(-x) is computed as one exponential: as two factors it is no number where x is very negative.
    """
    margin = beta * (chosen.scores - rejected.scores)
    blend = margin / discopop_tau
    return -F.logsigmoid(margin) * torch.sigmoid(-blend) + (F.logsigmoid(blend) - margin).exp()


def nca_pair(chosen: Side, rejected: Side, *, beta: float) -> Float[Tensor, " B"]:
    """-log s(beta r_w) - (log s(-beta r_w) + log s(-beta r_l)) / 2: NCA, Chen et al. 2024 (arXiv:2402.05369)."""
    wins, losses = beta * chosen.logratios, beta * rejected.logratios
    return -F.logsigmoid(wins) - 0.5 * F.logsigmoid(-wins) - 0.5 * F.logsigmoid(-losses)


def bco_pair(chosen: Side, rejected: Side, *, beta: float, delta: float = 0.0) -> Float[Tensor, " B"]:
    """-log s(beta r_w - d) - log s(-(beta r_l - d)): BCO, Jung et al. 2024 (arXiv:2404.04656).

    The paper shifts rewards by d, their mean, followed while training; TRL 1.16 has no d in its bco_pair. Here `delta`
    is the mean reward of the answers of all steps before this one: docs/losses.md.
    """
    return -F.logsigmoid(beta * chosen.logratios - delta) - F.logsigmoid(delta - beta * rejected.logratios)


def sppo_hard(chosen: Side, rejected: Side, *, beta: float) -> Float[Tensor, " B"]:
    """(r_w - 1 / (2 beta))^2 + (r_l + 1 / (2 beta))^2: SPPO, Wu et al. 2024, eq. 4.7 (arXiv:2405.00675).

    beta is 1 / eta of the paper. The paper's chance that an answer wins comes from a preference model; here, as in
    TRL, the chosen answer wins with certainty.
    """
    return (chosen.logratios - 0.5 / beta).square() + (rejected.logratios + 0.5 / beta).square()


def apo_zero(chosen: Side, rejected: Side, *, beta: float) -> Float[Tensor, " B"]:
    """1 - s(beta r_w) + s(beta r_l): APO, D'Oosterlinck et al. 2024, eq. 7 (arXiv:2408.06266).

    For chosen answers that are better than the model's own: up with them, down with the rejected.
    """
    return torch.sigmoid(-beta * chosen.logratios) + torch.sigmoid(beta * rejected.logratios)


def apo_down(chosen: Side, rejected: Side, *, beta: float) -> Float[Tensor, " B"]:
    """s(beta r_w) + 1 - s(beta (r_w - r_l)): APO, D'Oosterlinck et al. 2024, eq. 8 (arXiv:2408.06266).

    For chosen answers that are worse than the model's own: down with both, further with the rejected.
    """
    difference = beta * (chosen.logratios - rejected.logratios)
    return torch.sigmoid(beta * chosen.logratios) + torch.sigmoid(-difference)


def aot(chosen: Side, rejected: Side, *, beta: float, label_smoothing: float = 0.0) -> Float[Tensor, " B"]:
    """`sigmoid` of the k-th smallest policy margin minus the k-th smallest reference margin: AOT, paired.

    Melnyk et al. 2024 (arXiv:2406.05882), where a margin is log p of the chosen minus that of the rejected answer. The
    value of a pair is that of its place in the policy's order (equal margins: in the order given); the B pairs are
    those of a whole step. TRL sorts the pairs of one forward on one device: with it the loss depends on their number.
    """
    mine, frozen = chosen.logps - rejected.logps, chosen.reference - rejected.reference
    order = torch.argsort(mine.detach(), stable=True)
    place = torch.argsort(order)
    return smoothed(beta * (mine - frozen.sort().values[place]), label_smoothing)


def _per_token(chosen: Side, rejected: Side) -> Float[Tensor, " B"]:
    return chosen.scores / chosen.tokens - rejected.scores / rejected.tokens

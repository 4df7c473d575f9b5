"""The output head over response tokens, in tiles: logits of a tile live for a moment, those of a batch never.

When the loss is a sum over pairs, a tile that holds whole pairs knows its gradient at once: softmax and targets are
multiplied back while they are there, three matrix products instead of the four that recomputing costs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dpo_core.model.layout import at_least_fp32

TILE = 2**25  # logits computed together: 128 MiB in fp32
KEPT = 2**27  # logits kept from log-prob to gradient; a pair with more of them computes them twice

# (which pairs; of each token of their answers, in order, its log-prob in nats and, where asked for, its collision) ->
# their summed loss
PairsLoss = Callable[[slice, Float[Tensor, " R"], Float[Tensor, " R"] | None], Float[Tensor, ""]]


@dataclass(frozen=True)
class Head:
    """logits = softcap * tanh(z / softcap) with z = scale * (hidden @ weight.T + bias); without a softcap, z itself."""

    weight: Float[Tensor, "V D"]
    bias: Float[Tensor, " V"] | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Float[Tensor, "H D"]) -> Float[Tensor, "H V"]:
        """In fp32 at least, whatever the arithmetic of the product."""
        found = at_least_fp32(F.linear(hidden, self.weight, self.bias))
        if self.scale != 1.0:
            found = found * self.scale
        return found if self.softcap is None else self.softcap * torch.tanh(found / self.softcap)

    def to(self, dtype: torch.dtype) -> "Head":
        """The same in another arithmetic."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return Head(self.weight.to(dtype), bias, self.scale, self.softcap)


class ForwardPass(NamedTuple):
    """What a forward pass gives of a row's H response tokens; all but the loss detached."""

    loss: Tensor | None  # its sum over the row's pairs, ready for backward
    logps: Float[Tensor, " H"]  # log-prob of each token: nats, fp32
    metrics: Float[Tensor, "2 H"] | None = None  # `token_metrics`, where asked for
    collisions: Float[Tensor, " H"] | None = None  # the same of `collisions`


@torch.no_grad()
def token_logprobs(head: Head, hidden: Float[Tensor, "H D"], targets: Int[Tensor, " H"]) -> Float[Tensor, " H"]:
    """Log p of each target in nats, fp32."""
    cast = head.to(_arithmetic(hidden))
    step = max(1, TILE // len(head.weight))
    with torch.autocast(hidden.device.type, enabled=False):
        parts = zip(hidden.to(cast.weight.dtype).split(step), targets.split(step), strict=True)
        return torch.cat([_Tile(cast, *part).logps for part in parts])


def pairs_loss(
    head: Head,
    hidden: Float[Tensor, "H D"],
    targets: Int[Tensor, " H"],
    lengths: Sequence[int],
    loss: PairsLoss,
    *,
    measure: bool = False,
    collide: bool = False,
) -> ForwardPass:
    """The summed loss of a row of pairs, and the log-prob of every target.

    `lengths`: tokens of each response, chosen and rejected in turn. `loss` must be a sum over pairs. With `measure`
    the `token_metrics` of every target too, with `collide` its `collisions`.
    """
    inputs = (hidden, head.weight, head.bias, head, targets, lengths, loss, measure, collide)
    return ForwardPass(*cast(Any, _PairsLoss).apply(*inputs))


def token_metrics(log_shares: Float[Tensor, "H V"], targets: Int[Tensor, " H"]) -> Float[Tensor, "2 H"]:
    """Entropy (nats) of each distribution over the vocabulary, and 1 where its target is the likeliest token."""
    return torch.stack(
        [torch.special.entr(log_shares.exp()).sum(-1), (log_shares.argmax(-1) == targets).to(log_shares)]
    )


def collisions(log_shares: Float[Tensor, "H V"]) -> Float[Tensor, " H"]:
    """Log of the chance that two draws of each distribution are the same token: of its mean probability, in nats."""
    return torch.logsumexp(2 * log_shares, -1)


class _PairsLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        targets: Tensor,
        lengths: Sequence[int],
        loss: PairsLoss,
        measure: bool,
        collide: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        cast = head.to(_arithmetic(hidden))
        inputs = hidden.to(cast.weight.dtype)
        grads = _Grads(
            torch.empty_like(hidden),
            torch.zeros_like(weight) if ctx.needs_input_grad[1] else None,
            torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None,
        )
        logps = at_least_fp32(hidden.new_empty(len(targets)))
        metrics = logps.new_empty(2, len(targets)) if measure else None
        collided = torch.empty_like(logps) if collide else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for pairs, rows in _tiles(lengths, max(1, TILE // len(weight))):
                most = max(1, KEPT // len(weight))
                pieces = [slice(at, min(at + most, rows.stop)) for at in range(rows.start, rows.stop, most)]
                kept: _Tile | None = None
                for piece in pieces:
                    kept = _Tile(cast, inputs[piece], targets[piece])
                    logps[piece] = kept.logps
                    if metrics is not None:
                        metrics[:, piece] = kept.metrics()
                    if collided is not None:
                        collided[piece] = kept.collisions()
                    kept = kept if len(pieces) == 1 else None
                value, slope = _slope(loss, pairs, logps[rows], None if collided is None else collided[rows])
                total += value
                for piece in pieces:
                    tile = kept or _Tile(cast, inputs[piece], targets[piece])
                    tile.backward(slope[piece.start - rows.start : piece.stop - rows.start], grads, piece)
        ctx.grads = grads
        ctx.mark_non_differentiable(logps, *(found for found in (metrics, collided) if found is not None))
        return total, logps, metrics, collided

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        grads: _Grads = ctx.grads
        del ctx.grads
        if grad_total.device.type != "cpu" or grad_total.item() != 1.0:
            for tensor in (grads.hidden, grads.weight, grads.bias):
                if tensor is not None:
                    tensor.mul_(grad_total)
        return grads.hidden, grads.weight, grads.bias, None, None, None, None, None, None


@dataclass
class _Grads:
    hidden: Tensor
    weight: Tensor | None
    bias: Tensor | None


class _Tile:
    """Log-probs of some rows, and what their gradient needs until it is asked for."""

    def __init__(self, head: Head, hidden: Tensor, targets: Tensor) -> None:
        self.head, self.hidden, self.targets = head, hidden, targets
        logits = head.logits(hidden)
        self._log_shares: Tensor | None = torch.log_softmax(logits, -1)
        self._bend = None if head.softcap is None else 1 - (logits / head.softcap).square()  # d softcap(z) / dz
        self.logps: Tensor = self._log_shares.gather(1, targets[:, None])[:, 0]

    def metrics(self) -> Float[Tensor, "2 H"]:
        """`token_metrics`; before `backward`."""
        assert self._log_shares is not None
        return token_metrics(self._log_shares, self.targets)

    def collisions(self) -> Float[Tensor, " H"]:
        """`collisions`; before `backward`."""
        assert self._log_shares is not None
        return collisions(self._log_shares)

    def backward(self, slope: Float[Tensor, " H"], grads: _Grads, rows: slice) -> None:
        """Add the gradients that `slope`, d loss / d log-prob, gives; once, for it uses up the log-probs.

        d log p_t / d z = onehot_t - softmax(z): the first part is a look-up, the second a matrix product.
        """
        assert self._log_shares is not None
        weight = self.head.weight
        shares, self._log_shares = self._log_shares.exp_(), None
        slope = slope * self.head.scale
        hit = slope
        if self._bend is not None:
            shares.mul_(self._bend)
            hit = slope * self._bend.gather(1, self.targets[:, None])[:, 0]
        shares = shares.to(weight.dtype)
        pull = (shares @ weight).to(grads.hidden.dtype).mul_(slope[:, None])
        grads.hidden[rows] = weight.index_select(0, self.targets).to(pull.dtype).mul_(hit[:, None]).sub_(pull)
        if grads.weight is not None:
            scaled = self.hidden * slope[:, None].to(self.hidden.dtype)
            if grads.weight.dtype == weight.dtype:
                grads.weight.addmm_(shares.T, scaled, alpha=-1)
            else:
                grads.weight.sub_(shares.T @ scaled)
            grads.weight.index_add_(0, self.targets, self.hidden.to(grads.weight.dtype) * hit[:, None])
        if grads.bias is not None:
            grads.bias.sub_(slope.to(shares.dtype) @ shares).index_add_(0, self.targets, hit.to(grads.bias.dtype))


def _slope(loss: PairsLoss, pairs: slice, logps: Tensor, collided: Tensor | None) -> tuple[Tensor, Tensor]:
    """The loss of some pairs, and its derivative by each token's log-prob."""
    with torch.enable_grad():
        leaves = logps.detach().requires_grad_()
        value = loss(pairs, leaves, collided)
        (slope,) = torch.autograd.grad(value, leaves)
    return value.detach(), slope


def _tiles(lengths: Sequence[int], most: int) -> Iterator[tuple[slice, slice]]:
    """(pairs, their rows): as many whole pairs as fit into `most` rows, at least one."""
    ends = [0, *accumulate(lengths)][::2]
    first = 0
    for pair in range(1, len(ends)):
        if pair == len(ends) - 1 or ends[pair + 1] - ends[first] > most:
            yield slice(first, pair), slice(ends[first], ends[pair])
            first = pair


def _arithmetic(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype

"""Tokens drawn from logits by random numbers that belong to the answer, not to the batch.

The vocabulary is halved until one token is left: at each halving a fresh uniform number decides by the probability of
either half. One decision over all tokens at once (inverse CDF) draws by the same law, but a cumulative sum over 49,152
tokens has as many edges, and rounding moves each: five hundred times as many tokens changed with the
batch size (docs/decisions.md).
A halving is decided by the difference of two scores perturbed by noise (log-odds of the halves against the logistic
log-odds of the uniform number): rounding of the logits by e nats changes it with a probability below e / 4.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.random import Philox
from numpy.typing import NDArray
from torch import Tensor

from dpo_core.errors import InputError
from dpo_core.model.answers.decoding import Decoding, Ids
from dpo_core.model.layout import at_least_fp32

CLOSE = 1e-4  # nats between the two best (perturbed) scores of a decision; for top_p, of the probability before a token
BLOCK = 256  # tokens summed together


@runtime_checkable
class RandomBits(Protocol):
    """What a token is drawn by."""

    def random_raw(self, size: int, /) -> NDArray[np.uint64]:
        """So many fresh numbers of 64 bits, as numpy's bit generators give them."""


def stream(seed: int, ids: Ids, sample: int) -> Philox:
    """The random numbers of one answer: a counter-based generator (Salmon et al. 2011), keyed by what it answers."""
    prompt = hashlib.sha256(np.asarray(ids, dtype="<i8").tobytes()).hexdigest()
    key = hashlib.sha256(f"{seed} {prompt} {sample}".encode()).digest()
    return Philox(key=int.from_bytes(key[:16], "little"))


@torch.no_grad()
def choose(logits: Float[Tensor, "B V"], streams: Sequence[RandomBits], how: Decoding) -> list[tuple[int, bool]]:
    """Of each row the next token, and whether it was decided by less than CLOSE. One copy from the device."""
    scores = at_least_fp32(logits)
    tokens, close = _likeliest(scores) if how.temperature == 0 else _draw(scores, streams, how)
    found: list[list[int]] = torch.stack([tokens, close.long()]).tolist()
    if -1 in found[0]:
        says = "the model's scores of the next token are NaN or infinite"
        raise InputError(says, where="its answers", do="take an earlier checkpoint, or compute in float32")
    return [(token, bool(narrow)) for token, narrow in zip(*found, strict=True)]


def _likeliest(scores: Float[Tensor, "B V"]) -> tuple[Int[Tensor, " B"], Bool[Tensor, " B"]]:
    best = scores.argmax(-1)
    most = scores.gather(1, best[:, None])
    close = (scores > most - CLOSE).sum(-1) > 1
    return torch.where(most[:, 0].isfinite(), best, -1), close


def _draw(
    scores: Float[Tensor, "B V"], streams: Sequence[RandomBits], how: Decoding
) -> tuple[Int[Tensor, " B"], Bool[Tensor, " B"]]:
    """By softmax; what falls outside the nucleus is drawn again, which gives the nucleus's law without a sort."""
    weights = scores.sub(scores.amax(-1, keepdim=True)).div_(how.temperature).exp_()
    blocks = _block_sums(weights)
    whole = blocks.sum(-1)
    tokens = torch.full((len(scores),), -1, device=scores.device)
    close = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    rows = torch.arange(len(scores), device=scores.device)
    numbers = list(range(len(scores)))
    while numbers:
        some = slice(None) if len(numbers) == len(scores) else rows
        found, narrow = _halve(weights[some], blocks[some], [streams[i] for i in numbers])
        close[rows] |= narrow
        if how.top_p == 1:
            tokens[rows] = found
            break
        least = weights[rows, found]
        before = torch.where(weights[some] > least[:, None], weights[some], 0).sum(-1, dtype=torch.float64)
        before /= whole[rows]
        close[rows] |= (before - how.top_p).abs() < CLOSE
        inside = (before < how.top_p) | before.isnan()
        tokens[rows[inside]] = found[inside]
        rows = rows[~inside]
        numbers = rows.tolist()
    return torch.where(whole.isfinite(), tokens, -1), close


def _block_sums(weights: Float[Tensor, "B V"]) -> Float[Tensor, "B N"]:
    """In fp64, of BLOCK tokens each, the last of what is left."""
    whole = weights.shape[1] // BLOCK * BLOCK
    sums = [weights[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1, dtype=torch.float64)] if whole else []
    if whole < weights.shape[1]:
        sums.append(weights[:, whole:].sum(-1, keepdim=True, dtype=torch.float64))
    return torch.cat(sums, dim=1)


def _halve(
    weights: Float[Tensor, "B V"], blocks: Float[Tensor, "B N"], streams: Sequence[RandomBits]
) -> tuple[Int[Tensor, " B"], Bool[Tensor, " B"]]:
    """First to one block, then to one token of it."""
    among, inside = (max(1, size - 1).bit_length() for size in (blocks.shape[1], BLOCK))
    numbers = np.stack([bits.random_raw(among + inside) for bits in streams])
    uniform = torch.from_numpy((numbers >> np.uint64(11)) * 2.0**-53).to(weights.device)
    block, close = _descend(blocks, uniform[:, :among])
    places = block[:, None] * BLOCK + torch.arange(BLOCK, device=weights.device)
    last = weights.shape[1] - 1
    parts = weights.gather(1, places.clamp(max=last)).double().masked_fill(places > last, 0)
    place, narrow = _descend(parts, uniform[:, among:])
    return (block * BLOCK + place).clamp(max=last), close | narrow


def _descend(
    masses: Float[Tensor, "B N"], uniform: Float[Tensor, "B K"]
) -> tuple[Int[Tensor, " B"], Bool[Tensor, " B"]]:
    """The place where K halvings end, of at most 2**K places, and whether one of them was close."""
    missing = (1 << uniform.shape[1]) - masses.shape[1]
    levels = [torch.nn.functional.pad(masses, (0, missing))]
    while levels[-1].shape[1] > 2:
        levels.append(levels[-1][:, ::2] + levels[-1][:, 1::2])
    node = torch.zeros(len(masses), 1, dtype=torch.long, device=masses.device)
    close = torch.zeros(len(masses), 1, dtype=torch.bool, device=masses.device)
    for level, number in zip(reversed(levels), uniform.split(1, dim=1), strict=True):
        left, right = level.gather(1, 2 * node), level.gather(1, 2 * node + 1)
        share = left / (left + right)
        node = 2 * node + (number >= share)
        close |= (number - share).abs() < CLOSE * share * (1 - share)  # a nat of log-odds moves the share by so much
    return node[:, 0], close[:, 0]

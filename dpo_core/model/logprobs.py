"""Log-probabilities of responses: one forward for training, reference and evaluation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Ids = Sequence[int]


class Sequences(NamedTuple):
    """S sequences of prompt and response, right-padded to T; their H response tokens in one flat list.

    No attention mask: with padding on the right, no real position of a causal model sees a pad.
    """

    input_ids: Int[Tensor, "S T"]
    keep: Bool[Tensor, "S T"]  # positions whose next token belongs to the response
    targets: Int[Tensor, " H"]  # that next token
    owner: Int[Tensor, " H"]  # the sequence it belongs to

    def to(self, device: torch.device) -> "Sequences":
        """The same on another device."""
        return Sequences(*(tensor.to(device) for tensor in self))


def collate(sequences: Sequence[tuple[Ids, Ids]]) -> Sequences:
    """Lay out (prompt ids, response ids); the last token is never an input, as nothing follows it."""
    longest = max(len(prompt) + len(response) for prompt, response in sequences) - 1
    input_ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    keep = torch.zeros(len(sequences), longest, dtype=torch.bool)
    targets: list[int] = []
    owner: list[int] = []
    for row, (prompt, response) in enumerate(sequences):
        ids = [*prompt, *response]
        input_ids[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        keep[row, len(prompt) - 1 : len(ids) - 1] = True
        targets += response
        owner += [row] * len(response)
    return Sequences(input_ids, keep, torch.tensor(targets), torch.tensor(owner))


def token_logprobs(model: torch.nn.Module, batch: Sequences) -> Float[Tensor, " H"]:
    """log p(token | everything before it) in nats, fp32, of every response token; prompt rows skip the head."""
    logits = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.keep).logits
    if logits.dim() == 3:  # a model that does not take a mask here returned every position
        logits = logits[batch.keep]
    return -F.cross_entropy(logits.float(), batch.targets, reduction="none")


def sequence_sums(values: Float[Tensor, " H"], owner: Int[Tensor, " H"], sequences: int) -> Float[Tensor, " S"]:
    """Sum per sequence in fp64: fp32 sums of a few hundred tokens are off by 1e-3."""
    return torch.zeros(sequences, dtype=torch.float64, device=values.device).index_add(0, owner, values.double())


def length_sorted(sequences: Sequence[tuple[Ids, Ids]], tokens: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, at most `tokens` tokens each with padding."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i][0]) + len(sequences[i][1]))
    batch: list[int] = []
    for index in order:
        length = len(sequences[index][0]) + len(sequences[index][1])
        if batch and length * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.no_grad()
def score(
    model: torch.nn.Module, sequences: Sequence[tuple[Ids, Ids]], *, dtype: str = "float32", tokens: int = 4096
) -> Iterator[tuple[int, Float[Tensor, " R"]]]:
    """Yield (index, per-token log-probs in fp32) of every sequence, shortest first.

    `dtype` is the arithmetic (autocast over fp32 weights), as in training.
    """
    device = next(model.parameters()).device
    for indices in length_sorted(sequences, tokens):
        batch = collate([sequences[i] for i in indices]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            values = token_logprobs(model, batch).cpu()
        yield from zip(indices, values.split([len(sequences[i][1]) for i in indices]), strict=True)

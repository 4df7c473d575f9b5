"""Log-probabilities of responses: one forward for training, reference and evaluation."""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

log = logging.getLogger("dpo.model")
Ids = Sequence[int]


class Sequences(NamedTuple):
    """S responses to G prompts, their H response tokens in one flat list, in order of the responses.

    A prompt is laid out once, however many responses share it: padded on the left to P, its responses on the right
    to R - 1 inputs (the last token is never an input, as nothing follows it).
    """

    prompt_ids: Int[Tensor, "G P"]
    prompt_mask: Bool[Tensor, "G P"]
    group: Int[Tensor, " S"]  # the prompt of each response
    response_ids: Int[Tensor, "S R"]
    keep: Bool[Tensor, "S R"]  # positions of response_ids whose next token is a target
    targets: Int[Tensor, " H"]
    first: Bool[Tensor, " H"]  # targets that follow the prompt itself
    owner: Int[Tensor, " H"]  # the response a target belongs to

    def to(self, device: torch.device) -> "Sequences":
        """The same on another device."""
        return Sequences(*(tensor.to(device) for tensor in self))


def collate(sequences: Sequence[tuple[Ids, Ids]]) -> Sequences:
    """Lay out (prompt ids, response ids)."""
    prompts = list(dict.fromkeys(tuple(prompt) for prompt, _ in sequences))
    number = {prompt: i for i, prompt in enumerate(prompts)}
    widest = max(map(len, prompts))
    longest = max(1, max(len(response) for _, response in sequences) - 1)
    prompt_ids = torch.zeros(len(prompts), widest, dtype=torch.long)
    prompt_mask = torch.zeros(len(prompts), widest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        prompt_ids[row, widest - len(prompt) :] = torch.tensor(prompt)
        prompt_mask[row, widest - len(prompt) :] = True
    response_ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    keep = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for row, (_, response) in enumerate(sequences):
        response_ids[row, : len(response) - 1] = torch.tensor(response[:-1], dtype=torch.long)
        keep[row, : len(response) - 1] = True
    responses = [response for _, response in sequences]
    return Sequences(
        prompt_ids,
        prompt_mask,
        torch.tensor([number[tuple(prompt)] for prompt, _ in sequences]),
        response_ids,
        keep,
        torch.tensor([token for response in responses for token in response]),
        torch.tensor([i == 0 for response in responses for i in range(len(response))]),
        torch.tensor([row for row, response in enumerate(responses) for _ in response]),
    )


def token_logprobs(model: torch.nn.Module, batch: Sequences, *, share: bool) -> Float[Tensor, " H"]:
    """Log p(token | everything before it) in nats, fp32, of every response token; prompt rows skip the head.

    With `share` a prompt is computed once and its keys and values serve all its responses, gradients included;
    `can_share` says for which models that is exact.
    """
    logits = _shared_logits(model, batch) if share else _separate_logits(model, batch)
    return -F.cross_entropy(logits.float(), batch.targets, reduction="none")


def _shared_logits(model: torch.nn.Module, batch: Sequences) -> Float[Tensor, "H V"]:
    mask = batch.prompt_mask.long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    prompt = model(
        input_ids=batch.prompt_ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
    )
    firsts: Tensor = prompt.logits[:, -1].index_select(0, batch.group)
    if not batch.keep.any():
        return firsts
    cache = prompt.past_key_values
    cache.reorder_cache(batch.group)
    width = batch.response_ids.shape[1]
    follow = torch.ones(len(batch.group), width, dtype=torch.long, device=mask.device)
    rest = model(
        input_ids=batch.response_ids,
        attention_mask=torch.cat([mask.index_select(0, batch.group), follow], dim=1),
        position_ids=mask.sum(1).index_select(0, batch.group)[:, None] + torch.arange(width, device=mask.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=batch.keep,
    ).logits
    logits = rest.new_empty(len(batch.targets), rest.shape[-1])
    logits = logits.index_copy(0, batch.first.nonzero()[:, 0], firsts.to(rest.dtype))
    both: Tensor = logits.index_copy(0, (~batch.first).nonzero()[:, 0], rest)
    return both


def _separate_logits(model: torch.nn.Module, batch: Sequences) -> Float[Tensor, "H V"]:
    """Each prompt once per response, padded on the right: no mask, as no real position of a causal model sees a pad."""
    lengths = batch.prompt_mask.sum(1).index_select(0, batch.group)
    rows = [
        torch.cat([batch.prompt_ids[group][batch.prompt_mask[group]], ids])
        for group, ids in zip(batch.group.tolist(), batch.response_ids, strict=True)
    ]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    wanted = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, length, kept in zip(wanted, lengths.tolist(), batch.keep.sum(1).tolist(), strict=True):
        row[length - 1 : length + kept] = True
    logits: Tensor = model(input_ids=input_ids, use_cache=False, logits_to_keep=wanted).logits
    return logits if logits.dim() == 2 else logits[wanted]  # a model that takes no mask here returns every position


@torch.no_grad()
def can_share(model: torch.nn.Module, *, tolerance: float = 1e-3) -> bool:
    """Whether sharing prompts gives this model's own log-probs: tried on it, not guessed from its name.

    `tolerance` in nats a token: bf16 alone moves a token by 0.1, a cache that mixes positions by whole nats.
    """
    device = next(model.parameters()).device
    ids = [int(i) for i in torch.randint(3, 100, (40,), generator=torch.Generator().manual_seed(0))]
    batch = collate([(ids[:9], ids[9:14]), (ids[:9], ids[14:17]), (ids[20:33], ids[33:40])]).to(device)
    try:
        shared, separate = (token_logprobs(model, batch, share=share) for share in (True, False))
    except Exception:
        log.warning("prompts_not_shared reason=the model refuses a shared prompt")
        return False
    close = bool(torch.allclose(shared, separate, atol=tolerance, rtol=1e-3))
    if not close:
        log.warning("prompts_not_shared difference=%.4f nats", float((shared - separate).abs().max()))
    return close


def sequence_sums(values: Float[Tensor, " H"], owner: Int[Tensor, " H"], sequences: int) -> Float[Tensor, " S"]:
    """Sum per sequence in fp64: fp32 sums of a few hundred tokens are off by 1e-3."""
    return torch.zeros(sequences, dtype=torch.float64, device=values.device).index_add(0, owner, values.double())


def length_sorted(sequences: Sequence[tuple[Ids, Ids]], tokens: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, at most `tokens` tokens each with padding; equal prompts stay together."""
    order = sorted(
        range(len(sequences)), key=lambda i: (len(sequences[i][0]), tuple(sequences[i][0]), len(sequences[i][1]))
    )
    batch: list[int] = []
    longest = 0
    for index in order:
        length = sum(map(len, sequences[index]))
        if batch and max(longest, length) * (len(batch) + 1) > tokens:
            yield batch
            batch, longest = [], 0
        batch.append(index)
        longest = max(longest, length)
    if batch:
        yield batch


def score(
    model: torch.nn.Module, sequences: Sequence[tuple[Ids, Ids]], *, dtype: str = "float32", tokens: int = 4096
) -> Iterator[tuple[int, Float[Tensor, " R"]]]:
    """Yield (index, per-token log-probs in fp32) of every sequence, shortest prompts first.

    `dtype` is the arithmetic (autocast over fp32 weights), as in training.
    """
    device = next(model.parameters()).device
    share = can_share(model)
    for indices in length_sorted(sequences, tokens):
        batch = collate([sequences[i] for i in indices]).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            values = token_logprobs(model, batch, share=share).cpu()
        yield from zip(indices, values.split([len(sequences[i][1]) for i in indices]), strict=True)

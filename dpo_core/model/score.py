"""Log-probs of any number of responses, without gradients."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dpo_core.model.layout import Ids, lay_out
from dpo_core.model.logprobs import Scorer
from dpo_core.model.modes import scoring


def by_length(sequences: Sequence[tuple[Ids, Ids]]) -> list[int]:
    """Indices, shortest prompts first, equal prompts together."""
    return sorted(
        range(len(sequences)), key=lambda i: (len(sequences[i][0]), tuple(sequences[i][0]), len(sequences[i][1]))
    )


def rows_of(sequences: Sequence[tuple[Ids, Ids]], tokens: int, *, share: bool) -> Iterator[list[int]]:
    """Indices of rows of at most `tokens` tokens, shortest first; with `share`, equal prompts stay together."""
    row: list[int] = []
    length = 0
    for index in by_length(sequences):
        prompt, response = sequences[index]
        joined = share and row and sequences[row[-1]][0] == prompt
        size = len(response) - 1 + (0 if joined else len(prompt))
        if row and length + size > tokens:
            yield row
            row, length, size = [], 0, len(response) - 1 + len(prompt)
        row.append(index)
        length += size
    if row:
        yield row


def score(
    model: torch.nn.Module, sequences: Sequence[tuple[Ids, Ids]], *, dtype: str = "float32", tokens: int = 2048
) -> Iterator[tuple[int, Float[Tensor, " R"]]]:
    """Yield (index, per-token log-probs in fp32) of every sequence, shortest prompts first.

    `dtype` is the arithmetic (autocast over fp32 weights), as in training; `tokens` those of a forward.
    """
    with scoring(model) as scorer:
        yield from score_with(scorer, sequences, dtype=dtype, tokens=tokens)


def score_with(
    scorer: Scorer, sequences: Sequence[tuple[Ids, Ids]], *, dtype: str = "float32", tokens: int = 2048
) -> Iterator[tuple[int, Float[Tensor, " R"]]]:
    """`score` with a model that is made ready already."""
    device = next(scorer.parameters()).device
    for indices in rows_of(sequences, tokens, share=scorer.method.share):
        layout = lay_out([sequences[i] for i in indices], share=scorer.method.share).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            values = scorer(layout)[1].cpu()
        yield from zip(indices, values.split(layout.lengths), strict=True)

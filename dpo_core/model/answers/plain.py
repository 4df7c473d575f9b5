"""Answers of a model whose attention or state is its own: transformers' `generate`, with our choice of each token.

Slower: rows of a batch are of one prompt length (so nothing is padded, which not every such model bears), and a row
that ended is carried along until the last of its batch has.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from numpy.random import Philox
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from dpo_core.model.answers.decoding import Decoding, Effort, Made, Query, Tell, plain_decoding
from dpo_core.model.answers.sampling import choose, stream


class _OurChoice(LogitsProcessor):
    """Leaves one token of each row possible: the one that we draw."""

    def __init__(self, how: Decoding, stops: frozenset[int], streams: Sequence[Philox], tell: Tell | None) -> None:
        self._how, self._stops, self._streams, self._tell = how, stops, streams, tell
        self.ids: list[list[int]] = [[] for _ in streams]
        self.close: list[list[int]] = [[] for _ in streams]
        self.ends: list[int | None] = [None] * len(streams)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        live = [i for i, end in enumerate(self.ends) if end is None]
        only = torch.full_like(scores, -torch.inf)
        only[:, next(iter(self._stops))] = 0
        found = choose(scores[live], [self._streams[i] for i in live], self._how)
        for i, (token, close) in zip(live, found, strict=True):
            if close:
                self.close[i].append(len(self.ids[i]))
            if token in self._stops:
                self.ends[i] = token
            else:
                self.ids[i].append(token)
                if self._tell is not None:
                    self._tell(token)
        tokens = torch.tensor([token for token, _ in found], device=scores.device)
        only[live] = torch.full_like(only[live], -torch.inf).scatter(1, tokens[:, None], 0)
        return only


def by_generate(
    model: PreTrainedModel,
    asked: Sequence[Query],
    how: Decoding,
    stops: frozenset[int],
    width: int,
    counts: Effort,
    tell: Tell | None = None,
) -> Iterator[Made]:
    """Batches of at most `width` answers to prompts of one length, the longest prompts first."""
    wanted = [(number, sample) for number, prompt in enumerate(asked) for sample in prompt.samples]
    wanted.sort(key=lambda row: (-len(asked[row[0]].ids), asked[row[0]].ids, row))
    for _, same in groupby(wanted, key=lambda row: len(asked[row[0]].ids)):
        rows = list(same)
        for start in range(0, len(rows), width):
            yield from _batch(model, asked, rows[start : start + width], how, stops, counts, tell)


def _batch(
    model: Any,
    asked: Sequence[Query],
    rows: Sequence[tuple[int, int]],
    how: Decoding,
    stops: frozenset[int],
    counts: Effort,
    tell: Tell | None,
) -> list[Made]:
    prompts = [asked[number].ids for number, _ in rows]
    streams = [stream(how.seed, ids, sample) for ids, (_, sample) in zip(prompts, rows, strict=True)]
    choice = _OurChoice(how, stops, streams, tell)
    input_ids = torch.tensor(prompts, device=model.device)
    with torch.no_grad():
        output = model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            generation_config=plain_decoding(sorted(stops), min(stops), asked[rows[0][0]].limit),
            logits_processor=LogitsProcessorList([choice]),
        )
    steps = output.shape[1] - input_ids.shape[1]
    counts.prompts += len(rows)
    counts.prompt_tokens += input_ids.numel()
    counts.steps += steps - 1
    counts.decoded += (steps - 1) * len(rows)
    counts.tokens += sum(map(len, choice.ids)) + sum(end is not None for end in choice.ends)
    counts.close += sum(map(len, choice.close))
    return [
        Made(number, sample, tuple(choice.ids[i]), choice.ends[i], tuple(choice.close[i]))
        for i, (number, sample) in enumerate(rows)
    ]

"""Attention over a `Layout`, through transformers' own registry: no model is patched.

A layer hands its queries, keys and values to the function registered here, with its scale, window, softcap and sinks;
the layout arrives as a keyword argument of the forward, so recomputation under gradient checkpointing sees it too.
"""

import contextlib
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from dpo_core.model.layout import Layout, at_least_fp32

NAME = "dpo_segments"


class UnsupportedAttentionError(RuntimeError):
    """A layer whose attention cannot be done by segments."""


@contextlib.contextmanager
def segment_attention(model: PreTrainedModel, name: str = NAME) -> Iterator[None]:
    """Inside, `model` attends by the layout that its forward is given, or as is registered; afterwards as before."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The signature of transformers' attention functions. (1, heads, T, D) in, (1, T, heads, D) out."""
    if layout is None:
        raise UnsupportedAttentionError(
            f"{type(module).__name__} is not given the layout: its model drops keyword arguments"
        )
    if attention_mask is not None or key.shape[2] != query.shape[2]:
        raise UnsupportedAttentionError(f"{type(module).__name__} attends by a mask or to keys of its own")
    layout.windows[id(module)] = sliding_window
    device, dtype = query.device.type, value.dtype
    with torch.autocast(device, enabled=False):
        if device == "cpu":  # its bf16 backward is several times slower than fp32
            query, key, value = (at_least_fp32(tensor) for tensor in (query, key, value))
        else:  # under autocast rotary embeddings leave queries and keys in fp32
            query, key = query.to(dtype), key.to(dtype)
        one_size = query.shape[-1] == value.shape[-1] <= 256  # what the kernel takes
        if device == "cuda" and dtype == torch.bfloat16 and one_size and softcap is None and s_aux is None:
            return _varlen(query, key, value, layout, scaling, sliding_window), None
        queries = query.split([s.stop - s.start for s in layout.segments], dim=2)
        keys, values = (_seen(tensor, layout) for tensor in (key, value))
        found = [
            _causal(q, k, v, layout, scaling, sliding_window, softcap, s_aux).transpose(1, 2)
            for q, k, v in zip(queries, keys, values, strict=True)
        ]
        return torch.cat(found, dim=1).to(dtype), None


def _seen(tensor: Tensor, layout: Layout) -> list[Tensor]:
    """The keys or values of each segment: the beginning it shares, then its own tokens.

    Cut once and joined, not sliced: the gradient of a slice is a whole row of zeros around it.
    """
    pieces = tensor.split(layout.parts.sizes, dim=2)
    return [
        pieces[numbers[0]] if len(numbers) == 1 else torch.cat([pieces[i] for i in numbers], dim=2)
        for numbers in layout.parts.of_segment
    ]


def _causal(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Causal attention whose queries are the last of the keys; exact in every option transformers' layers use."""
    rows, columns = query.shape[2], key.shape[2]
    if window is not None and window >= columns:
        window = None
    grouped = query.shape[1] != key.shape[1]
    if rows == columns and window is None and softcap is None and sinks is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
    if (mask := layout.masks.get((rows, columns, window))) is None:
        mask = layout.masks[rows, columns, window] = _mask(rows, columns, window, query.device)
    if softcap is None and sinks is None:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=grouped)
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = at_least_fp32(scores).masked_fill(~mask, -torch.inf)
    if sinks is not None:  # one more column a head, whose weight goes nowhere
        column = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(scores.shape[0], -1, rows, 1)
        scores = torch.cat([scores, column], dim=-1)
    weights = scores.softmax(-1)[..., :columns].to(value.dtype)
    return weights @ value


def _mask(rows: int, columns: int, window: int | None, device: torch.device) -> Tensor:
    """True where one of the last `rows` of `columns` tokens sees one of them."""
    every = torch.arange(columns, device=device)
    distance = every[columns - rows :, None] - every
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float | None, window: int | None
) -> Tensor:
    """The same on CUDA in one kernel: segments of unequal numbers of queries and keys, aligned at their ends."""
    from torch.nn.attention.varlen import varlen_attn

    lines = layout.lines
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (T, heads, D)
    out = varlen_attn(
        queries.contiguous(),
        keys.index_select(0, lines.keys),
        values.index_select(0, lines.keys),
        lines.query_ends,
        lines.key_ends,
        lines.longest_query,
        lines.longest_key,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    return cast(Tensor, out)[None]


AttentionInterface.register(NAME, attend)  # and no mask function: transformers then builds no mask

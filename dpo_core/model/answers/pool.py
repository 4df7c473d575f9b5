"""Keys and values of the answers in work, a row each, written in place; and attention of one token a row to them.

They are taken where a layer attends, through transformers' own registry of attention functions, so that no cache class
and no mask stands between: a layer hands its queries, keys and values over with its scale, window, softcap and sinks.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AttentionInterface

from dpo_core.model.attention import UnsupportedAttentionError, attend
from dpo_core.model.layout import Layout, at_least_fp32

NAME = "dpo_answers"
ROUND = 64  # the room of a row is a multiple of so many tokens


@runtime_checkable
class Work(Protocol):
    """What a forward is for: its attention is asked for layer by layer."""

    def attend(self, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        """(B, heads, T, D) in, (B, T, heads, D) out."""


def attend_to_work(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    work: Work | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The signature of transformers' attention functions."""
    if work is None:
        name = type(module).__name__
        raise UnsupportedAttentionError(f"{name} is not given its work: its model drops keyword arguments")
    if attention_mask is not None:
        raise UnsupportedAttentionError(f"{type(module).__name__} attends by a mask")
    return work.attend(module, query, key, value, **options), None


class Prompts:
    """Whole prompts in one row without padding: they attend by the layout, and their keys and values are kept."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.keys: dict[int, Float[Tensor, "KV T D"]] = {}
        self.values: dict[int, Float[Tensor, "KV T D"]] = {}

    def attend(self, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        """Causal by segments."""
        out, _ = attend(module, query, key, value, None, layout=self.layout, **options)
        self.keys[id(module)] = key[0].to(value.dtype).contiguous()
        self.values[id(module)] = value[0].contiguous()
        return out

    @property
    def bytes_a_token(self) -> int:
        """Of all layers' keys and values."""
        kept = [*self.keys.values(), *self.values.values()]
        return sum(tensor[:, 0].numel() * tensor.element_size() for tensor in kept)


class Pool:
    """Room for the keys and values of some answers: of every layer (rows, kv heads, capacity, D). Rows are compact."""

    def __init__(self) -> None:
        self.rows, self.capacity = 0, 0
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def fit(self, rows: int, capacity: int, *, kept: int, budget: int, like: Prompts) -> None:
        """Make room for so many rows of so many tokens, and some more within `budget` tokens; `kept` rows stay.

        Zeroed, as what was never written is weighted by 0, and 0 * NaN is NaN.
        """
        if rows <= self.rows and capacity <= self.capacity:
            return
        held = self.capacity
        new_rows = self.rows if rows <= self.rows else rows + rows // 4
        new_capacity = held if capacity <= held else _rounded(capacity + capacity // 4)
        if new_rows * new_capacity > budget:
            new_rows, new_capacity = rows, _rounded(capacity)
        common = min(held, new_capacity)
        for tensors, shapes in ((self.keys, like.keys), (self.values, like.values)):
            for layer, of_prompts in shapes.items():
                heads, _, size = of_prompts.shape
                room = of_prompts.new_zeros(new_rows, heads, new_capacity, size)
                if kept:
                    room[:kept, :, :common] = tensors[layer][:kept, :, :common]
                tensors[layer] = room
        self.rows, self.capacity = new_rows, new_capacity

    def enter(self, prompts: Prompts, tokens: Int[Tensor, "E L"], rows: Int[Tensor, " E"]) -> None:
        """Copy the keys and values of `tokens` (places in the row of `prompts`) to the beginning of `rows`."""
        length = tokens.shape[1]
        for kept, room in ((prompts.keys, self.keys), (prompts.values, self.values)):
            for layer, tensor in kept.items():
                room[layer][rows, :, :length] = tensor[:, tokens].transpose(0, 1)

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Rows to other places."""
        for room in (self.keys, self.values):
            for tensor in room.values():
                tensor[list(targets), :, :length] = tensor[list(sources), :, :length]


class Advance:
    """One token of each of the first rows of a pool, at `positions`: it is written there and sees all up to itself."""

    def __init__(self, pool: Pool, positions: Sequence[int], device: torch.device) -> None:
        self.pool, self.first, self.last = pool, min(positions), max(positions) + 1
        self.rows = torch.arange(len(positions), device=device)
        self.positions = torch.tensor(positions, device=device)
        self._masks: dict[tuple[int, int | None, torch.dtype], Tensor] = {}

    def attend(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        """Products of each row's queries with its own keys, the query heads of one key head together."""
        if (room := self.pool.keys.get(id(module))) is None or query.shape[2] != 1 or key.shape[2] != 1:
            raise UnsupportedAttentionError(f"{type(module).__name__} did not attend so to the prompt")
        batch, heads, size = query.shape[0], query.shape[1], query.shape[3]
        kv = key.shape[1]
        begin = 0 if sliding_window is None else max(0, self.first + 1 - sliding_window)
        with torch.autocast(query.device.type, enabled=False):
            stored = []
            for tensors, new in ((room, key), (self.pool.values[id(module)], value)):
                tensors[self.rows, :, self.positions] = new[:, :, 0].to(tensors.dtype)
                stored.append(tensors[:batch].flatten(0, 1)[:, begin : self.last])  # no copy: rows are compact
            keys, values = stored
            queries = query.reshape(batch * kv, heads // kv, size).to(keys.dtype)
            scale = size**-0.5 if scaling is None else scaling
            mask = self._mask(kv, begin, sliding_window, keys.dtype)
            if softcap is None:
                scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale)
            else:
                scores = softcap * torch.tanh(torch.bmm(queries, keys.transpose(1, 2)) * (scale / softcap)) + mask
            scores = at_least_fp32(scores)
            if s_aux is not None:  # one more column a head, whose weight goes nowhere
                column = s_aux.to(scores.dtype).reshape(1, kv, -1, 1).expand(batch, -1, -1, 1).flatten(0, 1)
                scores = torch.cat([scores, column], dim=-1)
            weights = scores.softmax(-1)[..., : self.last - begin].to(values.dtype)
            return torch.bmm(weights, values).reshape(batch, 1, heads, value.shape[3]).to(value.dtype)

    def _mask(self, kv: int, begin: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a row sees a token of its own, else -inf; made once a step."""
        if (found := self._masks.get((kv, window, dtype))) is None:
            distance = self.positions[:, None] - torch.arange(begin, self.last, device=self.positions.device)
            hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
            found = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)
            found = self._masks[kv, window, dtype] = found.repeat_interleave(kv, dim=0)[:, None]
        return found


def _rounded(tokens: int) -> int:
    return -(-tokens // ROUND) * ROUND


AttentionInterface.register(NAME, attend_to_work)  # and no mask function: transformers then builds no mask

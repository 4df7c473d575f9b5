"""The forward pass of training, reference and evaluation: log-probs of laid-out responses, and a loss of them."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from dpo_core.model.head import ForwardPass, Head, PairsLoss, collisions, pairs_loss, token_logprobs, token_metrics
from dpo_core.model.layout import Layout, at_least_fp32, padded_lines

Mode = Literal["shared", "packed", "padded"]


@dataclass(frozen=True)
class Method:
    """How log-probs are computed, and why not in a better mode.

    `shared`: packed rows, a prompt once for all its responses; `packed`: every response with its own copy of the
    prompt; `padded`: transformers as it comes.
    """

    mode: Mode
    head: bool  # our tiled head, else the model's own logits
    why: str = ""

    @property
    def share(self) -> bool:
        """Whether equal prompts are laid out once."""
        return self.mode == "shared"


class Scorer(torch.nn.Module):
    """A causal language model that gives log-probs of laid-out responses: made by `scoring`, wrapped by accelerate."""

    def __init__(self, model: torch.nn.Module, method: Method, head: Head | None) -> None:
        super().__init__()
        self.model = model
        self.method = method
        layers = set(plain_model(model)._no_split_modules or ())
        self._no_split_modules = sorted(layers & {type(module).__name__ for module in model.modules()})  # FSDP's units
        self._scale, self._softcap = (head.scale, head.softcap) if head else (1.0, None)

    def forward(
        self, layout: Layout, loss: PairsLoss | None = None, *, measure: bool = False, collide: bool = False
    ) -> ForwardPass:
        """Log-prob of every response token; with `loss` that too, then also what `measure` and `collide` ask for."""
        if self.method.head:
            hidden = self._hidden(layout)
            if loss is None:
                return ForwardPass(None, token_logprobs(self._head(), hidden, layout.targets))
            wanted = {"measure": measure, "collide": collide}
            return pairs_loss(self._head(), hidden, layout.targets, layout.lengths, loss, **wanted)
        shares = torch.log_softmax(at_least_fp32(self._logits(layout)), -1)
        logps = shares.gather(1, layout.targets[:, None])[:, 0]
        if loss is None:
            return ForwardPass(None, logps.detach())
        metrics = token_metrics(shares.detach(), layout.targets) if measure else None
        collided = collisions(shares.detach()) if collide else None
        total = loss(slice(0, len(layout.lengths) // 2), logps, collided)
        return ForwardPass(total, logps.detach(), metrics, collided)

    def _hidden(self, layout: Layout) -> Float[Tensor, "H D"]:
        decoder = cast(torch.nn.Module, decoder_of(self.model))
        rows: Tensor = decoder(
            input_ids=layout.input_ids, position_ids=layout.position_ids, use_cache=False, layout=layout
        ).last_hidden_state
        return rows[0].index_select(0, layout.head_rows)

    def _head(self) -> Head:
        output = plain_model(self.model).get_output_embeddings()
        return Head(output.weight, output.bias, self._scale, self._softcap)

    def _logits(self, layout: Layout) -> Float[Tensor, "H V"]:
        if self.method.mode != "padded":
            options: dict[str, Any] = {"layout": layout, "logits_to_keep": layout.head_rows}
            inputs = {"input_ids": layout.input_ids, "position_ids": layout.position_ids}
            found: Tensor = self.model(**inputs, use_cache=False, **options).logits[0]
            return found
        input_ids, wanted = padded_lines(layout)
        logits: Tensor = self.model(input_ids=input_ids, use_cache=False, logits_to_keep=wanted).logits
        return logits if logits.dim() == 2 else logits[wanted]  # a model that takes no mask here returns every position


def decoder_of(model: torch.nn.Module) -> torch.nn.Module | None:
    """The part of a causal language model that ends in hidden states."""
    plain = plain_model(model)
    inner = plain.get_decoder()
    if inner is plain:
        inner = getattr(plain, plain.base_model_prefix, plain)
    return None if inner is plain else inner


def plain_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model inside peft's wrapper, with its adapters."""
    inner = getattr(model, "get_base_model", None)
    return cast(PreTrainedModel, inner() if inner else model)

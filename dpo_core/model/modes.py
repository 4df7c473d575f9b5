"""Which way of computing log-probs gives a model's own: each is tried on the model, the best one that does is used."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from dpo_core.model.attention import UnsupportedAttentionError, segment_attention
from dpo_core.model.head import Head
from dpo_core.model.layout import lay_out
from dpo_core.model.logprobs import Method, Mode, Scorer, decoder_of, plain_model

log = logging.getLogger("dpo.model")
MODES: tuple[Mode, ...] = ("shared", "packed", "padded")
TOLERANCE = 1e-3  # nats a token, in fp32: rounding moves a token by 1e-5, a mixed-up position by whole nats


@contextlib.contextmanager
def scoring(model: torch.nn.Module) -> Iterator[Scorer]:
    """`model` in the best mode that gives its own log-probs, tried on it, not guessed from its name.

    Inside, the model attends by layouts and cannot generate; afterwards it is as before.
    """
    plain = plain_model(model)
    expected = _probe(Scorer(model, Method("padded", head=False), None))
    why: list[str] = []
    for mode in MODES[:-1]:
        with segment_attention(plain):
            if fault := _fault(Scorer(model, Method(mode, head=False), None), expected):
                why.append(f"{mode}: {fault}")
                continue
            head = _matching_head(model, mode, expected)
            why += [] if head else ["the head is not a plain one"]
            method = Method(mode, head is not None, "; ".join(why))
            reason = f' why="{method.why}"' if why else ""
            log.info("log_probs mode=%s head=%s%s", mode, "tiled" if head else "model", reason)
            yield Scorer(model, method, head)
            return
    method = Method("padded", head=False, why="; ".join(why))
    log.warning('log_probs mode=padded why="%s"', method.why)
    yield Scorer(model, method, None)


_PROBE = tuple(int(i) for i in torch.randint(3, 100, (64,), generator=torch.Generator().manual_seed(0)))
_PROBE_SEQUENCES = (
    (_PROBE[:24], _PROBE[24:33]),
    (_PROBE[:24], _PROBE[33:45]),
    (_PROBE[45:58], _PROBE[58:62]),
    (_PROBE[45:58], _PROBE[62:63]),
)


@torch.no_grad()
def _probe(scorer: Scorer) -> Tensor:
    device = next(scorer.parameters()).device
    layout = lay_out(_PROBE_SEQUENCES, share=scorer.method.share).to(device)
    logps = scorer(layout)[1]
    if scorer.method.mode != "padded":
        wanted = expected_windows(plain_model(scorer.model).config.get_text_config())
        if len(layout.windows) != len(wanted):
            used = f"{len(layout.windows)} of {len(wanted)} layers"
            raise UnsupportedAttentionError(f"{used} used the attention they were given")
        if (found := list(layout.windows.values())) != wanted:
            raise UnsupportedAttentionError(f"layers ask for windows {found} where the configuration says {wanted}")
    return cast(Tensor, logps)


def expected_windows(config: PreTrainedConfig) -> list[int | None]:
    """The window of each layer: the trial is shorter than most, so it cannot tell a layer that forgets its own."""
    window = getattr(config, "sliding_window", None) or None
    every = "sliding_attention" if window else "full_attention"
    types = getattr(config, "layer_types", None) or [every] * config.num_hidden_layers
    known = {"full_attention": None, "sliding_attention": window}
    if unknown := sorted(set(types) - set(known)):
        raise UnsupportedAttentionError(f"layers of type {', '.join(unknown)}")
    return [known[kind] for kind in types]


def _fault(scorer: Scorer, expected: Tensor) -> str:
    """Why a method does not give this model's log-probs; empty if it does."""
    try:
        found = _probe(scorer)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    off = float((found - expected).abs().max())
    return "" if off <= TOLERANCE else f"log-probs of a trial off by {off:.4f} nats"


def _matching_head(model: torch.nn.Module, mode: Mode, expected: Tensor) -> Head | None:
    """The plain head with the factor and softcap that give the model's own log-probs."""
    plain = plain_model(model)
    output: Any = plain.get_output_embeddings()
    if decoder_of(model) is None or type(output) is not torch.nn.Linear:
        return None
    config = plain.config.get_text_config()
    factors = [getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "lm_head_multiplier")]
    known = [float(factor) for factor in factors if isinstance(factor, int | float) and factor]
    for scale in dict.fromkeys([1.0, *known, *(1 / factor for factor in known)]):
        head = Head(output.weight, output.bias, scale, getattr(config, "final_logit_softcapping", None))
        if not _fault(Scorer(model, Method(mode, head=True), head), expected):
            return head
    return None

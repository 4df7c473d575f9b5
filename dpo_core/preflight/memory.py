"""Memory of a training step, and of scoring: the step itself, done on tensors without numbers.

docs/preflight.md derives each term by hand; tests/dpo_core/preflight/test_memory.py holds the two against each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpo_core.model.attention import segment_attention
from dpo_core.model.head import Head
from dpo_core.model.layout import Ids, lay_out
from dpo_core.model.logprobs import Method, Scorer, plain_model
from dpo_core.preflight.live import Live, counting, give_bytes
from dpo_core.recipe import Training
from dpo_core.train.policy import make_optimizer

Row = Sequence[tuple[Ids, Ids]]  # (prompt ids, response ids), chosen and rejected in turn
OnMeta = Callable[[Training | None], torch.nn.Module]  # the model on the meta device, made for a training


@dataclass(frozen=True)
class StepMemory:
    """Bytes on one device in a training step. They do not all live at once: `peak` is what the process has at most.

    `activations`: what the forward pass of the largest row keeps for the backward pass.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: int


@dataclass(frozen=True)
class ScoreMemory:
    """Bytes on one device where log-probs are computed without gradients."""

    weights: int
    peak: int


def step_memory(
    on_meta: OnMeta, training: Training, rows: Sequence[Row], *, method: Method, device: str = "cpu"
) -> StepMemory:
    """Of an optimizer step after the first, on these rows of one rank: two of them tell what any number needs."""
    with counting() as live:
        policy = on_meta(training)
        give_bytes(policy, device)
        weights = live.now
        optimizer = make_optimizer(policy, training)
        trained = [p for p in policy.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        gradients = live.now - weights
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state = live.now - weights
        kept = 0
        for row in rows:
            kept = max(kept, _forward_and_back(policy, row, training, method, device, live))
        torch.nn.utils.clip_grad_norm_(trained, training.max_grad_norm)
        optimizer.step()
        return StepMemory(weights, gradients, state, kept, _peak(live, device))


def score_memory(on_meta: OnMeta, row: Row, *, dtype: str, method: Method, device: str = "cpu") -> ScoreMemory:
    """Of the log-probs of a row."""
    with counting() as live, torch.no_grad():
        model = on_meta(None)
        give_bytes(model, device)
        weights = live.now
        with segment_attention(plain_model(model)), torch.autocast(device, torch.bfloat16, enabled=_is_bf16(dtype)):
            _scorer(model, method)(lay_out(row, share=method.share).to(torch.device(device)))
        return ScoreMemory(weights, _peak(live, device))


def _forward_and_back(
    policy: torch.nn.Module, row: Row, training: Training, method: Method, device: str, live: Live
) -> int:
    """Bytes that the forward pass keeps."""
    before = live.now
    with segment_attention(plain_model(policy)):
        layout = lay_out(row, share=method.share).to(torch.device(device))
        with torch.autocast(device, torch.bfloat16, enabled=_is_bf16(training.dtype)):
            wanted = {"measure": training.token_metrics_steps > 0, "collide": training.use_weighting}
            found = _scorer(policy, method)(layout, _sum, **wanted)
        kept = live.now - before
        found.loss.backward()
    return kept


def _peak(live: Live, device: str) -> int:
    """Torch's allocator on a GPU hands blocks out again; the system's keeps them apart."""
    return live.most if device == "cuda" else live.held


def _sum(pairs: slice, logps: Tensor, collisions: Tensor | None) -> Tensor:
    """In the place of the loss, which needs a few bytes a pair."""
    return logps.double().sum()


def _scorer(model: torch.nn.Module, method: Method) -> Scorer:
    plain = plain_model(model)
    output = plain.get_output_embeddings()
    softcap = getattr(plain.config.get_text_config(), "final_logit_softcapping", None)
    return Scorer(model, method, Head(output.weight, output.bias, 1.0, softcap) if method.head else None)


def _is_bf16(dtype: str) -> bool:
    return dtype == "bfloat16"

"""How far the new model is from the reference, on answers that it draws itself: an estimate of the KL divergence."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dpo_core.data.pairs import Message
from dpo_core.evaluate.evidence import divergence_of, draw_samples
from dpo_core.model.answers.answers import answers
from dpo_core.model.answers.decoding import Decoding
from dpo_core.model.chat_template import ChatTemplate
from dpo_core.model.encode import encode_prompt, load_tokenizer
from dpo_core.model.score import score
from dpo_core.report.documents import EvaluationEvidence
from infra.store.base import Store
from tasks.evaluation.sampled import SEED
from tasks.records import Checked, DivergenceOutput, Plan, Scored
from tasks.runtime.device import load_on_device
from tasks.runtime.models import config_of
from tasks.runtime.pairs import encoded_pairs
from tasks.runtime.stages import remembered

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Sequences = list[tuple[list[int], list[int]]]
CODE = ("tasks.evaluation.divergence",)


def with_divergence(
    evidence: EvaluationEvidence,
    store: Store,
    plan: Plan,
    checked: Checked,
    scored: Scored,
    weights: tuple[str, str],
    fetch: Callable[[str], Path],
) -> EvaluationEvidence:
    """The same with the estimate of the first model from the second (`weights`, which `fetch` brings here), remembered.

    The end of an answer is the stop token that was drawn.
    """
    encoded = encoded_pairs(store, checked.eval_key, checked.eval_ids_key)
    prompts = draw_samples([row.pair for row in encoded], plan.recipe.evaluation.kl)
    if not prompts:
        return evidence

    def compute() -> DivergenceOutput:
        ours_folder, theirs_folder = (fetch(sha) for sha in weights)
        model = _loaded(ours_folder, plan)
        tokenizer = load_tokenizer(ours_folder, trusted_code=plan.trusted_code)
        sequences = _drawn(model, tokenizer, plan, prompts)
        ours = _logps(model, plan, sequences)
        del model  # one of the two is in memory at a time
        theirs = _logps(_loaded(theirs_folder, plan), plan, sequences)
        rows = list(zip(ours, theirs, strict=True))
        return DivergenceOutput(k1=[_k1(*row) for row in rows], k3=[_k3(*row) for row in rows])

    inputs = {
        "weights": list(weights),
        "configs": [config_of(store, plan, sha) for sha in weights],
        "own_code": plan.trusted_code,
        "path": {key: value for key, value in scored.path.items() if key != "model"},
        "tokenizer": plan.tokenizer_sha256,
        "max_new_tokens": plan.recipe.evaluation.max_new_tokens,
        "day": plan.recipe.encoding.date,
        "prompts": [list(prompt) for prompt in prompts],
    }
    found, _ = remembered(store, "divergence", inputs, compute, output=DivergenceOutput, code=CODE, force=plan.force)
    return evidence.model_copy(update={"divergence": divergence_of(found.k1, found.k3, prompts)})


def _k1(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Log of the ratio of the whole answer's probabilities: unbiased, of either sign."""
    return math.fsum(ours) - math.fsum(theirs)


def _k3(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Sum over the tokens of r - 1 - log r, r the reference's probability over ours: unbiased too, never negative."""
    return math.fsum(math.expm1(b - a) - (b - a) for a, b in zip(ours, theirs, strict=True))


def _drawn(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    plan: Plan,
    prompts: Sequence[tuple[Message, ...]],
) -> Sequences:
    """Prompt ids and ids of one answer to each, its end included, drawn by the model's own odds."""
    how = Decoding(plan.recipe.evaluation.max_new_tokens, temperature=1.0, seed=SEED)
    day, width = plan.recipe.encoding.date, plan.recipe.evaluation.batch_size
    template = ChatTemplate(tokenizer, day)
    found: Sequences = [([], []) for _ in prompts]
    with torch.autocast(model.device.type, torch.bfloat16, enabled=plan.recipe.training.dtype == "bfloat16"):
        for one in answers(model, tokenizer, prompts, decoding=how, day=day, width=width):
            asked = list(encode_prompt(prompts[one.prompt], tokenizer, template=template))
            found[one.prompt] = (asked, [*one.ids, *([] if one.end is None else [one.end])])
    return found


def _logps(model: "PreTrainedModel", plan: Plan, sequences: Sequences) -> list[list[float]]:
    """Of each answer the log-probs of its tokens, nats."""
    found = dict(score(model, sequences, dtype=plan.recipe.training.dtype))
    return [found[i].double().tolist() for i in range(len(sequences))]


def _loaded(folder: Path, plan: Plan) -> "PreTrainedModel":
    return load_on_device(folder, threads=plan.threads, trusted_code=plan.trusted_code)

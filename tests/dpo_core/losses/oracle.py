"""Policy and reference in fp64 with pairs of unequal lengths, and what plain transformers says of them."""

import random
from types import MethodType, SimpleNamespace

import torch
from accelerate import Accelerator
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from dpo_core.data.pairs import Example
from dpo_core.model.load import load_model
from dpo_core.train.loop import _accumulate
from tests.tiny import build_tiny_model


def some_pairs():
    """Five pairs of unequal lengths, two of them with one prompt."""
    draw = random.Random(0)

    def ids(low, high):
        return tuple(draw.randrange(3, 300) for _ in range(draw.randint(low, high)))

    prompts = [ids(3, 30) for _ in range(4)]
    return [(prompts[min(i, 3)], ids(1, 20), ids(2, 20)) for i in range(5)]


def alone(model, prompt, response):
    """Log-probs of a response's tokens, and of two draws that are the same token; plain transformers."""
    shares = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return shares[torch.arange(len(response)), torch.tensor(response)], shares.detach().exp().square().sum(-1).log()


def in_fp64(norm, hidden):
    """transformers rounds to fp32 in its norms, whatever the arithmetic around them."""
    return norm.weight * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + norm.variance_epsilon)


def make_models(folder):
    """Policy and reference in fp64, and the pairs with the reference's log-probs; built in `folder` unless there."""
    policy, reference = (
        load_model(place if place.exists() else build_tiny_model(place, seed=seed)).double()
        for seed, place in enumerate((folder / "0", folder / "1"))
    )
    for model in (policy, reference):
        model.get_input_embeddings().weight.data.mul_(8)  # the tiny model is nearly uniform
        for module in model.modules():
            if isinstance(module, LlamaRMSNorm):
                module.forward = MethodType(in_fp64, module)
    found = []
    with torch.no_grad():
        for i, (prompt, *answers) in enumerate(some_pairs()):
            tokens = [alone(reference, prompt, answer)[0] for answer in answers]
            shorter = min(map(len, answers))
            sums = [t.sum().item() for t in tokens]
            public = [t[:shorter].sum().item() for t in tokens]
            found.append(Example(str(i), prompt, *answers, *sums, 0.5 + i, 1.5 - 0.2 * i, "", *public))
    return SimpleNamespace(policy=policy, reference=reference, pairs=found, folder=folder)


def packed(scorer, models, recipe, delta=0.0):
    models.policy.zero_grad()
    options = {"method": scorer.method, "delta": delta}
    sums, *_ = _accumulate(scorer, models.pairs, recipe, Accelerator(cpu=True), **options)
    return sums[0].item() / len(models.pairs), [p.grad for p in models.policy.parameters()]

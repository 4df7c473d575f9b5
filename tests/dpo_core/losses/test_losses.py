"""One table, all losses: by hand, by TRL, by finite differences, and packed as well as separate."""

import copy
import inspect
import random
from types import MethodType, SimpleNamespace
from typing import get_args

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from dpo_core.data.pairs import Example
from dpo_core.losses.pairwise import discopop
from dpo_core.losses.registry import ARGUMENTS, LOSSES
from dpo_core.losses.sides import scores_of, side_of
from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.recipe_loss import OPTIONS
from dpo_core.train.loop import _accumulate
from dpo_core.train.objective import metric_names, values_of, wpo_weights
from tests.dpo_core.losses.cases import CASES, FOUND, HAND
from tests.tiny import build_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and its dependencies'
all_losses = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """accelerate keeps one state a process; each test starts its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def columns(recipe):
    return FOUND if recipe.ld_alpha is not None else FOUND[:, :2]


def weights_of(case):
    return None if case.weight is None else torch.full((2,), case.weight, dtype=torch.float64)


@all_losses
def test_the_first_pair_costs_what_it_costs_by_hand(case):
    values = values_of(HAND, columns(case.recipe), case.recipe, weights=weights_of(case), delta=case.delta)
    assert values["losses/dpo"][0].item() == pytest.approx(case.hand, rel=1e-12)
    assert values.keys() == set(metric_names(case.recipe))


@all_losses
def test_the_gradient_is_that_of_finite_differences(case):
    def loss(found):
        recipe = case.recipe.model_copy(update={"sft_weight": 0.5})
        return values_of(HAND, found, recipe, weights=weights_of(case), delta=case.delta)["loss"]

    assert torch.autograd.gradcheck(loss, columns(case.recipe).clone().requires_grad_(), fast_mode=True)


def test_the_table_names_every_loss_and_every_option():
    assert {name for case in CASES for name in case.recipe.mixture} == OPTIONS.keys() == LOSSES.keys()
    assert {o for case in CASES for o in case.recipe.options} | {"simpo_gamma", "f_alpha_divergence_coef"} == {
        option for options in OPTIONS.values() for option in options
    }
    kinds = get_args(get_args(Training.model_fields["f_divergence_type"].annotation)[0])
    assert {case.recipe.f_divergence_type for case in CASES} - {None} == set(kinds) - {"reverse_kl"}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_loss_takes_the_options_that_the_recipe_knows_of_it(name):
    taken = set(inspect.signature(LOSSES[name]).parameters) - {"chosen", "rejected", "beta", "delta"}
    assert taken == ARGUMENTS & set(OPTIONS[name])


# ---- through the model: packed rows against plain transformers, one text at a time


def some_pairs():
    """Six pairs of unequal lengths, two of them with one prompt."""
    draw = random.Random(0)

    def ids(low, high):
        return tuple(draw.randrange(3, 300) for _ in range(draw.randint(low, high)))

    prompts = [ids(3, 30) for _ in range(5)]
    return [(prompts[min(i, 4)], ids(1, 20), ids(2, 20)) for i in range(6)]


def alone(model, prompt, response):
    """Log-probs of a response's tokens, and of two draws that are the same token; plain transformers."""
    shares = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return shares[torch.arange(len(response)), torch.tensor(response)], shares.detach().exp().square().sum(-1).log()


def in_fp64(norm, hidden):
    """transformers rounds to fp32 in its norms, whatever the arithmetic around them."""
    return norm.weight * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + norm.variance_epsilon)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Policy and reference in fp64, and the pairs with the reference's log-probs."""
    folder = tmp_path_factory.mktemp("models")
    policy, reference = (load_model(build_tiny_model(folder / str(s), seed=s)).double() for s in (0, 1))
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


@pytest.fixture(scope="module")
def separate(models):
    """Each text alone, with its graph: the oracle."""
    return [alone(models.policy, e.prompt_ids, ids) for e in models.pairs for ids in (e.chosen_ids, e.rejected_ids)]


def expected(models, separate, case):
    """Loss of the step and its gradients, by autograd over separate forwards."""
    recipe = case.recipe.model_copy(update={"sft_weight": 0.5})
    sums = torch.stack([logps.sum() for logps, _ in separate]).view(-1, 2)
    if recipe.ld_alpha is not None:
        shorter = [min(len(e.chosen_ids), len(e.rejected_ids)) for e in models.pairs for _ in range(2)]
        public = [logps[:size].sum() for (logps, _), size in zip(separate, shorter, strict=True)]
        sums = torch.cat([sums, torch.stack(public).view(-1, 2)], 1)
    weights = None
    if recipe.use_weighting:
        weights = torch.stack([(logps - same).detach().mean().exp() for logps, same in separate]).view(-1, 2).prod(1)
    values = values_of(models.pairs, sums, recipe, weights=weights, delta=case.delta)
    loss = values["loss"].mean()
    return loss.item(), torch.autograd.grad(loss, list(models.policy.parameters()), retain_graph=True)


def packed(scorer, models, recipe, delta=0.0):
    models.policy.zero_grad()
    options = {"method": scorer.method, "delta": delta}
    sums, _ = _accumulate(scorer, models.pairs, recipe, Accelerator(cpu=True), **options)
    return sums[0].item() / len(models.pairs), [p.grad for p in models.policy.parameters()]


@pytest.fixture(scope="module")
def scorer(models):
    with scoring(models.policy) as scorer:
        assert scorer.method.mode == "shared"
        yield scorer


@all_losses
def test_packed_equals_separate(models, separate, scorer, case):
    loss, gradients = expected(models, separate, case)
    for tokens in (10_000, 90, 1):
        recipe = case.recipe.model_copy(update={"sft_weight": 0.5, "tokens_per_row": tokens})
        found, ours = packed(scorer, models, recipe, case.delta)
        assert found == pytest.approx(loss, rel=1e-10)
        for mine, theirs in zip(ours, gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)

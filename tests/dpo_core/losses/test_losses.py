"""One table, all losses: by hand, by TRL, by finite differences, and packed as well as separate."""

import inspect
from typing import get_args

import pytest
import torch
from accelerate.state import AcceleratorState

from dpo_core.losses.registry import ARGUMENTS, LOSSES
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.recipe_loss import OPTIONS
from dpo_core.train.objective import metric_names, values_of
from tests.dpo_core.losses.cases import CASES, FOUND, HAND
from tests.dpo_core.losses.oracle import alone, make_models, packed

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and its dependencies'
all_losses = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True, scope="module")
def fresh_accelerator():
    """accelerate keeps one state a process; each module starts its own."""
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


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"))


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


@pytest.fixture(scope="module")
def scorer(models):
    with scoring(models.policy) as scorer:
        assert scorer.method.mode == "shared"
        yield scorer


@all_losses
def test_packed_equals_separate(models, separate, scorer, case):
    loss, gradients = expected(models, separate, case)
    for tokens in (10_000, 60):  # one row, and several
        recipe = case.recipe.model_copy(update={"sft_weight": 0.5, "tokens_per_row": tokens})
        found, ours = packed(scorer, models, recipe, case.delta)
        assert found == pytest.approx(loss, rel=1e-10)
        for mine, theirs in zip(ours, gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)

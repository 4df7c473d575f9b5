"""One table, all losses: by hand, by TRL, by finite differences, and packed as well as separate."""

import inspect
import json
import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from dpo_core.data.pairs import Example
from dpo_core.errors import InputError
from dpo_core.losses.pairwise import discopop
from dpo_core.losses.registry import ARGUMENTS, LOSSES
from dpo_core.losses.sides import scores_of, side_of
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.recipe_file import checked_recipe
from dpo_core.recipe_loss import OPTIONS
from dpo_core.train.objective import metric_names, values_of, wpo_weights
from tests.dpo_core.losses.cases import CASES, FOUND, HAND
from tests.dpo_core.losses.oracle import alone, make_models, packed
from tests.faults.servers import free_port

ROOT = Path(__file__).parents[3]
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


@pytest.fixture(scope="module")
def on_two_ranks(models, tmp_path_factory, forkserver):
    """Losses and gradients of two processes (gloo), each with some of the rows of a step."""
    folder = tmp_path_factory.mktemp("ranks")
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "PYTHONPATH": str(ROOT)}
    command = [str(forkserver.python), "-m", "tests.dpo_core.losses.ranks_worker", str(models.folder), str(folder)]
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], [error[-3000:] for error in errors]
    losses = json.loads((folder / "losses.json").read_text())
    assert losses["ranks"] == 2
    return losses, load_file(folder / "gradients.safetensors")


@all_losses
def test_two_processes_find_what_separate_texts_give(models, separate, on_two_ranks, case):
    losses, gradients = on_two_ranks
    loss, theirs = expected(models, separate, case)
    assert losses[case.name] == pytest.approx(loss, rel=1e-6)  # metrics are summed over ranks in fp32
    flat = torch.cat([gradient.flatten() for gradient in theirs])
    torch.testing.assert_close(gradients[case.name], flat, rtol=1e-8, atol=1e-12)


# ---- limits, and what is refused


def test_discopop_is_finite_where_its_exponential_alone_is_not():
    far = side_of(*(torch.tensor([x], dtype=torch.float64) for x in (-9000.0, 0.0, 5.0)))
    near = side_of(*(torch.tensor([x], dtype=torch.float64) for x in (0.0, 0.0, 5.0)))
    # x = -900: exp(900) is infinite; -log s(-900) = 900, and m exp(900) = exp(-19 * 900) is nothing
    assert discopop(far, near, beta=0.1).item() == pytest.approx(900)


@pytest.mark.parametrize("kind", ["forward_kl", "js_divergence", "alpha_divergence"])
def test_a_divergences_score_is_finite_and_has_slope_one_where_policy_is_reference(kind):
    # f''(1) = 1 of each, halved for js: f' = log(2u / (1 + u)), u f''(u) = 1 / (1 + u)
    at = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    scores_of(at, kind).sum().backward()
    assert at.grad.item() == pytest.approx(0.5 if kind == "js_divergence" else 1.0)
    assert scores_of(torch.tensor([-2000.0, 2000.0], dtype=torch.float64), kind).isfinite().all()


@pytest.mark.parametrize(("coefficient", "kind"), [(1.0, "reverse_kl"), (0.0, "forward_kl")])
def test_the_ends_of_the_alpha_divergences_are_the_two_kls(coefficient, kind):
    ratios = torch.tensor([-1.5, 0.3], dtype=torch.float64)
    torch.testing.assert_close(scores_of(ratios, "alpha_divergence", coefficient), scores_of(ratios, kind))


def test_wpo_weighs_by_the_geometric_mean_of_each_side():
    # tokens p / sum p^2: e^0.1 and e^0.3 chosen, e^-0.4 rejected; exp(0.2) * exp(-0.4) = exp(-0.2)
    pair = [Example("1", (1,), (2, 3), (4,), 0.0, 0.0)]
    found = wpo_weights(pair, torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.1, -2.3, -2.6]))
    assert found.item() == pytest.approx(math.exp(-0.2), rel=1e-6)


def test_without_a_reference_rewards_are_beta_nats_a_token_and_nothing_compares_with_one():
    pairs = [replace(HAND[0], ref_chosen_logps=None, ref_rejected_logps=None)]
    values = values_of(pairs, FOUND[:1, :2], Training(loss="simpo", beta=2.0))
    # -10 over 4 tokens and -15 over 2, times 2
    assert [values[name].item() for name in ("rewards/chosen", "rewards/rejected")] == [-5.0, -15.0]
    assert [values[name].item() for name in ("logps/chosen", "rewards/margins")] == [-10.0, 10.0]
    assert not {"displacement", "logratios/chosen"} & values.keys()


def test_orpos_own_term_is_the_sft_weight():
    recipe = Training(loss="orpo", beta=0.25)
    values = values_of(HAND, FOUND[:, :2], recipe)
    assert values["loss"][0].item() == pytest.approx(0.0015423041159688955 + 10 / 4, rel=1e-12)
    assert recipe.sft_weight == 1.0
    assert Training(loss={"orpo": 0.5, "simpo": 1}).sft_weight == 0.5
    assert Training(loss="orpo", sft_weight=0.2).sft_weight == 0.2


@pytest.mark.parametrize(
    ("keys", "key", "says"),
    [
        ({"loss": "sigmiod"}, "loss", "no loss 'sigmiod': did you mean 'sigmoid'?"),
        ({"loss": "IPO"}, "loss", "did you mean 'ipo'?"),
        ({"loss": {"sigmoid": 0.8, "sft": 1}}, "loss", "set training.sft_weight"),
        ({"loss": {"sigmoid": 0}}, "loss", "the weight of sigmoid is 0"),
        ({"loss": {}}, "loss", "at least one loss"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing", "no effect with the loss hinge: leave it out"),
        ({"loss": "aot", "use_weighting": True}, "use_weighting", "no effect with the loss aot"),
        ({"ld_alpha": 0.0, "loss": "simpo"}, "ld_alpha", "no effect with the loss simpo"),
        ({"loss": {"sigmoid": 1, "bco_pair": 1}, "f_divergence_type": "forward_kl"}, "f_divergence_type", "bco_pair"),
        ({"f_alpha_divergence_coef": 0.3}, "f_alpha_divergence_coef", "without f_divergence_type: alpha_divergence"),
        ({"loss": "exo_pair", "label_smoothing": 0.0}, "label_smoothing", "makes exo_pair infinite"),
    ],
)
def test_a_loss_that_is_none_and_an_option_that_does_nothing_are_refused_at_their_line(keys, key, says):
    values = {"name": "n", "model": "m", "data": {"train": "p.jsonl"}, "training": keys}
    with pytest.raises(InputError) as caught:
        checked_recipe(values, {f"training.{key}": "run.yaml:7"}, "run.yaml")
    assert says in caught.value.says
    assert caught.value.where == f"run.yaml:7, key training.{key}"


def test_a_reference_for_a_loss_that_has_none_is_refused():
    values = {"name": "n", "model": "m", "reference": "r", "data": {"train": "p.jsonl"}, "training": {"loss": "orpo"}}
    with pytest.raises(InputError, match="orpo has none: leave it out"):
        checked_recipe(values, {}, "run.yaml")


def test_what_a_recipe_of_before_decides_has_the_name_that_it_had():
    assert not {"loss", "label_smoothing", "use_weighting"} & Training().decisive.keys()
    assert {"beta", "sft_weight", "learning_rate"} <= Training().decisive.keys()
    assert {"loss": "aot", "ld_alpha": 0.0}.items() <= Training(loss="aot", ld_alpha=0.0).decisive.items()

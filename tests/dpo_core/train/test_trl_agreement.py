"""TRL 1.16 as oracle: the same token ids give the same log-probs, loss and gradients in fp32."""

import copy
import random
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoTokenizer

from dpo_core.data.pairs import Example
from dpo_core.model.layout import lay_out, sequence_sums
from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.train.loop import _accumulate, sequences_of
from tests.dpo_core.losses.cases import CASES
from tests.dpo_core.losses.oracle import make_models, packed
from tests.tiny import build_tiny_model

trl = pytest.importorskip("trl", minversion="1.16.0", reason="the oracle: pip install trl==1.16.0")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and its dependencies'


def random_examples(count):
    draw = random.Random(0)

    def ids(low, high):
        return tuple(draw.randrange(3, 300) for _ in range(draw.randint(low, high)))

    return [Example(str(i), ids(3, 40), ids(1, 30), ids(1, 30), -50.0 - i, -60.0 + i) for i in range(count)]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    from datasets import Dataset

    folder = build_tiny_model(tmp_path_factory.mktemp("model"))
    arguments = trl.DPOConfig(
        output_dir=str(folder / "out"),
        beta=0.1,
        use_cpu=True,
        bf16=False,
        report_to=[],
        gradient_checkpointing=False,
        precompute_ref_log_probs=True,
    )
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)
    model = load_model(folder)
    trainer = trl.DPOTrainer(copy.deepcopy(model), args=arguments, train_dataset=rows)
    return model, trainer


def trl_inputs(trainer, examples):
    rows = [{k: list(getattr(e, k)) for k in ("prompt_ids", "chosen_ids", "rejected_ids")} for e in examples]
    inputs = trainer.data_collator(rows)
    inputs["ref_chosen_logps"] = torch.tensor([e.ref_chosen_logps for e in examples])
    inputs["ref_rejected_logps"] = torch.tensor([e.ref_rejected_logps for e in examples])
    return inputs


def test_sequence_log_probs_agree(oracle):
    model, trainer = oracle
    examples = random_examples(8)
    chosen, rejected = trainer.compute_ref_log_probs(trainer.model, trl_inputs(trainer, examples))
    layout = lay_out(sequences_of(examples), share=True)
    with scoring(copy.deepcopy(model)) as scorer, torch.no_grad():
        ours = sequence_sums(scorer(layout)[1], layout.owner, 16)
    theirs = torch.stack([torch.as_tensor(chosen), torch.as_tensor(rejected)], dim=1).flatten().double()
    assert ((ours - theirs).abs() <= 1e-4 + 1e-6 * theirs.abs()).all()


@pytest.mark.parametrize("tokens_per_row", [4096, 150, 1])
def test_loss_and_gradients_agree_however_we_pack(oracle, tokens_per_row):
    model, trainer = oracle
    examples = random_examples(8)
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, trl_inputs(trainer, examples), return_outputs=False).backward()
    theirs = {name: p.grad for name, p in trainer.model.named_parameters()}
    loss = trainer._compute_loss(trainer.model, trl_inputs(trainer, examples), return_outputs=False).item()

    ours = copy.deepcopy(model)
    training = Training(beta=0.1, tokens_per_row=tokens_per_row)
    with scoring(ours) as scorer:
        options = {"method": scorer.method, "check_reference": False, "measure": False}
        sums, *_ = _accumulate(scorer, examples, training, Accelerator(cpu=True), **options)
    assert sums[0].item() / 8 == pytest.approx(loss, abs=1e-5)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name], atol=1e-4, rtol=1e-4)


# ---- every loss that TRL has, in fp64


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def scorer(models, trl_trainer, without_reference):
    """Made after the trainers, which have copies of the policy with its own attention."""
    with scoring(models.policy) as scorer:
        yield scorer


@pytest.fixture(scope="module")
def trl_trainer(models):
    """DPOTrainer on the same two models, in fp64; what a loss needs is set on it, as its __init__ would."""
    arguments = trl.DPOConfig(**common(models), beta=0.25, use_weighting=True)  # so that its head gives what WPO asks
    return trl.DPOTrainer(
        copy.deepcopy(models.policy), copy.deepcopy(models.reference), args=arguments, train_dataset=text_rows()
    )


def common(models):
    options = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": False}
    return {**options, "output_dir": str(models.folder / "out")}


def text_rows():
    from datasets import Dataset

    return Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)


DEFAULTS = {
    "loss_types": ["sigmoid"],
    "loss_weights": None,
    "label_smoothing": 0.0,
    "f_divergence_type": "reverse_kl",
    "f_alpha_divergence_coef": 0.5,
    "use_weighting": False,
    "ld_alpha": None,
}


def trl_dpo(trainer, pairs, given):
    """Loss and gradients of its own forward, reference and loss."""
    settings = DEFAULTS | {name: value for name, value in given.items() if name != "discopop_tau"}
    settings["loss_weights"] = settings["loss_weights"] or [1.0] * len(settings["loss_types"])
    for name, value in settings.items():
        assert hasattr(trainer, name)
        setattr(trainer, name, value)
    trainer.args.discopop_tau = given.get("discopop_tau", 0.05)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    inputs = trainer.data_collator([{name: list(getattr(e, name)) for name in names} for e in pairs])
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    loss.backward()
    return loss.item(), [p.grad for p in trainer.model.parameters()]


@pytest.mark.parametrize("case", [c for c in CASES if c.trl and "loss_types" in c.trl], ids=lambda case: case.name)
def test_trl_finds_the_same_loss_and_gradient(models, trl_trainer, scorer, case):
    pairs = [Example(**{**e.__dict__, "sft_weight": 1.0, "weight": 1.0}) for e in models.pairs]
    loss, gradients = trl_dpo(trl_trainer, pairs, case.trl)
    found, ours = packed(scorer, SimpleNamespace(policy=models.policy, pairs=pairs), case.recipe)
    assert found == pytest.approx(loss, rel=1e-5)
    mine, theirs = (torch.cat([g.flatten() for g in side]) for side in (ours, gradients))  # its head computes in fp32
    assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.mark.parametrize("case", [c for c in CASES if c.trl and "loss_types" not in c.trl], ids=lambda case: case.name)
def test_trls_trainers_without_reference_find_the_same_loss_and_gradient(models, without_reference, scorer, case):
    trainer = without_reference[case.name]
    trainer.model.zero_grad()
    loss, metrics = trainer.get_batch_loss_metrics(trainer.model, sides(trainer, models.pairs))
    if case.name == "orpo":  # its NLL term is of another mean: docs/losses.md
        loss = loss - loss.detach() + loss.item() - metrics["nll_loss"]
        assert metrics["nll_loss"] > 0
    pairs = [Example(**{**e.__dict__, "weight": 1.0}) for e in models.pairs]
    found, _ = packed(scorer, SimpleNamespace(policy=models.policy, pairs=pairs), case.recipe)
    assert found == pytest.approx(loss.item(), rel=1e-5)


@pytest.fixture(scope="module")
def without_reference(models):
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(models.folder / "0")
    shared = {"train_dataset": text_rows(), "processing_class": tokenizer}
    simpo = CPOConfig(**common(models), beta=0.25, loss_type="simpo", simpo_gamma=0.5, cpo_alpha=0.0)
    orpo = ORPOConfig(**common(models), beta=0.25)
    return {
        "simpo": CPOTrainer(copy.deepcopy(models.policy), simpo, **shared),
        "orpo": ORPOTrainer(copy.deepcopy(models.policy), orpo, **shared),
    }


def sides(trainer, pairs):
    """A batch of its collator: whole texts, of which the answer's tokens are labels."""
    rows = []
    for e in pairs:
        row = {}
        for name in ("chosen", "rejected"):
            answer = getattr(e, f"{name}_ids")
            row[f"{name}_input_ids"] = [*e.prompt_ids, *answer]
            row[f"{name}_attention_mask"] = [1] * (len(e.prompt_ids) + len(answer))
            row[f"{name}_labels"] = [-100] * len(e.prompt_ids) + [*answer]
        rows.append(row)
    return trainer.data_collator(rows)

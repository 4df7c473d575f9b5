"""TRL 1.16 as oracle: the same token ids give the same log-probs, loss and gradients in fp32."""

import copy
import random

import pytest
import torch
from accelerate import Accelerator

from dpo_core.data.pairs import Example
from dpo_core.model.layout import lay_out, sequence_sums
from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.train.loop import _accumulate, sequences_of
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
        sums, _ = _accumulate(scorer, examples, training, Accelerator(cpu=True), **options)
    assert sums[0].item() / 8 == pytest.approx(loss, abs=1e-5)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name], atol=1e-4, rtol=1e-4)

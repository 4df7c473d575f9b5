"""Operations of rows, against torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from dpo_core.model.layout import lay_out
from dpo_core.preflight.operations import Costs, steps_of
from dpo_core.recipe import Training
from dpo_core.train.batches import batch_at
from tests.dpo_core.preflight.test_memory import CONFIG


def test_operations_of_a_text_are_those_that_torch_counts():
    model = LlamaForCausalLM._from_config(CONFIG, attn_implementation="eager")  # of products, which it counts
    prompt, answer = tuple(range(10, 70)), tuple(range(70, 111))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        hidden = model.model(torch.tensor([[*prompt, *answer[:-1]]]), use_cache=False).last_hidden_state
        model.lm_head(hidden[0, len(prompt) - 1 :])
    found = Costs.of(model).row([(prompt, answer)], share=True)
    masked = 4 * 3 * 4 * 8 * 99 * 100 / 2  # of 100 tokens in 3 layers of 4 heads of 8: computed here, and not in ours
    assert found.layers + found.head + masked == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_prompt_that_is_shared_is_computed_once():
    prompt, answers = tuple(range(60)), ((61, 2), (62, 2))
    row = [(prompt, answer) for answer in answers]
    costs = Costs.of(LlamaForCausalLM(CONFIG))
    assert costs.row(row, share=True).tokens == lay_out(row, share=True).input_ids.shape[1] == 62
    assert costs.row(row, share=False).tokens == 122


def test_the_steps_looked_at_are_steps_of_the_run():
    training = Training(train_batch_size=4)
    few = steps_of(10, training, 3)
    assert few == [batch_at(step, examples=10, batch_size=4, seed=3) for step in range(3)]
    many = steps_of(1000, training, 3, most=5)
    assert [len(many), many[0], many[-1]] == [5, *(batch_at(s, examples=1000, batch_size=4, seed=3) for s in (0, 249))]

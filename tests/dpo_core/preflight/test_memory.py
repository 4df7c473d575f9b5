"""What a step keeps in memory: counted on tensors without numbers, against sums made by hand."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dpo_core.model.logprobs import Method
from dpo_core.preflight.memory import score_memory, step_memory
from dpo_core.recipe import Lora, Training
from dpo_core.train.policy import make_policy

D, F, LAYERS, HEADS, KV, SIZE, V = 32, 64, 3, 4, 2, 8, 384
CONFIG = LlamaConfig(
    vocab_size=V, hidden_size=D, intermediate_size=F, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
    num_key_value_heads=KV, head_dim=SIZE, tie_word_embeddings=True,
)  # fmt: skip
OF_LAYER = 2 * D + D * SIZE * (2 * HEADS + 2 * KV) + 3 * D * F
WEIGHTS = LAYERS * OF_LAYER + D + V * D
PACKED = Method("packed", head=True)
ROW = [(tuple(range(9, 69)), tuple(range(70 + i, 110 + i))) for i in range(2)]  # 2 texts of 60 + 40 tokens
T, H = 2 * 99, 2 * 40  # the last token of an answer is no input


def on_meta(training):
    with torch.device("meta"):
        model = LlamaForCausalLM(CONFIG)
        return make_policy(model, training, seed=0) if training else model.eval()


def of(**training):
    return step_memory(on_meta, Training(**training), [ROW], method=PACKED)


def test_weights_gradients_and_moments_are_four_four_and_eight_bytes_a_weight():
    found = of()
    tables = 2 * SIZE * 4  # of the rotary embedding: frequencies, kept twice
    tensors = 9 * LAYERS + 2
    assert found.weights - 4 * WEIGHTS in (tables // 4, tables // 2, tables)
    assert found.gradients == 4 * WEIGHTS
    assert found.optimizer == 8 * WEIGHTS + 4 * tensors  # and a step number for each


def test_what_a_forward_pass_keeps_is_what_the_products_read_again():
    # a token and layer: 2 norms of input, normalised, output; queries, keys, values; the answer of the attention by
    # segment and joined, its log-sum; gate, its silu, up, and their product
    of_layer = 6 * D + 2 + 3 * HEADS * SIZE + 2 * KV * SIZE + HEADS + 4 * F
    ends = T * 2 * D + 2 * H * D + V * D  # embeddings and last norm; answers' hidden states, their gradient; the head's
    by_hand = 4 * (LAYERS * T * of_layer + ends)
    assert of().activations == pytest.approx(by_hand, rel=0.03)


def test_what_is_trained_and_kept_shrinks_as_the_recipe_says():
    full, frozen, lora = of(), of(freeze_embeddings=True), of(lora=Lora(r=4))
    assert full.gradients - frozen.gradients == 4 * V * D
    adapters = LAYERS * 4 * (2 * 2 * D + 2 * (D + KV * SIZE) + 3 * (D + F))  # r by in and out of each product
    assert lora.gradients == 4 * adapters
    again = of(gradient_checkpointing=True)
    assert again.activations < 0.5 * full.activations
    assert again.peak < full.peak


def test_without_gradients_a_layer_at_a_time_is_kept():
    found = score_memory(on_meta, ROW, dtype="float32", method=PACKED)
    assert found.weights + 4 * T * 2 * D < found.peak < found.weights + of().activations / 2 + 4 * 3 * H * V

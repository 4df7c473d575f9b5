"""Every family of models: our path gives what plain transformers gives, one sequence at a time, or is not used."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_core.model.layout import lay_out, sequence_sums
from dpo_core.model.load import without_dropout
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.train.policy import make_policy

SMALL = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
}
WINDOW = {"sliding_window": 6}  # shorter than the prompts
FAR = 50  # a window longer than the trial of `scoring`, 36 tokens, and shorter than what the test scores
MIXED = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GPT2 = {
    "vocab_size": 128,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "initializer_range": 0.3,
    **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 2},
}
OPT = {
    "ffn_dim": 64,
    "word_embed_proj_dim": 32,
    "dropout": 0.0,
    "init_std": 0.3,
}
MLA = {
    **EXPERTS,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
SSM = {"state_size": 8, "num_heads": 8, "expand": 2, "head_dim": 8, "n_groups": 1, "chunk_size": 8}
SCALE = {"query_pre_attn_scalar": 5}  # not head_dim, which is what an attention that forgets it would use
HEAVY = {"compress_rates": {"heavily_compressed_attention": FAR, "compressed_sparse_attention": 4}}
ALIBI = {"vocab_size": 128, "initializer_range": 0.3}
TIED = {"tie_word_embeddings": True}

SHARED = {
    "llama": {},
    "mistral": WINDOW,
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, **MIXED},
    "qwen3": {"use_sliding_window": True, "max_window_layers": 1, **MIXED},
    "gemma": TIED,
    "gemma2": {**MIXED, **SCALE, **TIED},
    "gemma3_text": {**MIXED, **SCALE, **TIED},
    "phi3": WINDOW,
    "olmo2": {},
    "olmo3": MIXED,
    "granite": {"logits_scaling": 4.0, "attention_multiplier": 0.2, **TIED},
    "cohere": {"logit_scale": 0.25, **TIED},
    "cohere2": {"logit_scale": 0.25, **MIXED},
    "smollm3": {"no_rope_layers": [1, 0]},
    "glm4": {},
    "gpt_neox": {"hidden_dropout": 0.0},
    "gpt2": GPT2,
    "opt": OPT,
    "phi": {"resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "starcoder2": {"residual_dropout": 0.0, "embedding_dropout": 0.0, **WINDOW},
    "ernie4_5": {},
    "exaone4": MIXED,
    "mixtral": {**EXPERTS, **WINDOW},
    "qwen3_moe": EXPERTS,
    "gpt_oss": {**EXPERTS, **MIXED},
    "deepseek_v3": MLA,
    "helium": {},
    "seed_oss": {},
}
OWN_HEAD = {
    "modernbert-decoder": MIXED,  # a dense layer and a norm of its own between the decoder and the output weights
}
PADDED = {
    # attention of their own, outside transformers' registry (or, stablelm, without its keyword arguments)
    "falcon": {"new_decoder_architecture": True, "hidden_dropout": 0.0},
    "stablelm": {"hidden_dropout": 0.0},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128, **ALIBI},
    "bloom": {"n_layer": 2, "n_head": 4, "hidden_size": 32, "hidden_dropout": 0.0, **ALIBI},
    "gpt_neo": {"num_heads": 4, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 6},
    # layers that carry a state or a convolution from one text of a row to the next
    "mamba2": SSM,
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    # the mask brings their window, chunk or compressed keys, unseen by us; a trial shorter than these sees none of it
    "qwen2_moe": {**EXPERTS, "use_sliding_window": True, "max_window_layers": 1, **MIXED, "sliding_window": FAR},
    "phimoe": {**EXPERTS, "sliding_window": FAR},
    "doge": {"sliding_window": FAR},
    "llama4_text": {**EXPERTS, "attention_chunk_size": FAR, "intermediate_size_mlp": 64},
    "deepseek_v4": {**MLA, **HEAVY, "layer_types": ["heavily_compressed_attention"] * 2},
}
EXPECTED = [
    *((family, "shared", True) for family in SHARED),
    *((family, "shared", False) for family in OWN_HEAD),
    *((family, "padded", False) for family in PADDED),
]


def build(family, options, dropout=0.0):
    """A model of the family; `dropout` is the value of every rate that its configuration has."""
    torch.manual_seed(0)
    base = {} if family in ("gpt2", "mpt", "bloom") else SMALL
    if family == "falcon":
        base = {name: value for name, value in SMALL.items() if name != "head_dim"}
    config = AutoConfig.for_model(family, **{**base, **options})
    for part in (config, getattr(config, "attn_config", None)):
        rates = [name for name in vars(part or config) if "dropout" in name or name.endswith(("pdrop", "layerdrop"))]
        for name in rates if dropout and part else []:
            vars(part)[name] = dropout
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():  # sinks, norms and biases start as constants that would hide a mistake
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and "A_log" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model


def numbers(count, seed):
    return tuple(torch.randint(3, 128, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


FIRST, SECOND = numbers(57, 1), numbers(11, 2)
SEQUENCES = [
    (FIRST, numbers(9, 3)),
    (FIRST, numbers(5, 4)),
    (SECOND, numbers(12, 5)),
    (SECOND, numbers(1, 6)),
    (FIRST, numbers(7, 7)),
    (FIRST, numbers(1, 8)),
]


def plain(model, sequence):
    prompt, response = sequence
    logps = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits.float().log_softmax(-1)[0]
    return logps[len(prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None]).double().sum()


def dpo(sums):
    return -torch.nn.functional.logsigmoid(0.1 * (sums[::2] - sums[1::2])).sum()


def of_tokens(pairs, logps, collisions):
    """As the head wants it."""
    lengths = torch.tensor([len(answer) for _, answer in SEQUENCES[2 * pairs.start : 2 * pairs.stop]])
    return dpo(sequence_sums(logps, torch.repeat_interleave(lengths), len(lengths)))


@pytest.mark.parametrize(("family", "mode", "head"), EXPECTED)
@pytest.mark.filterwarnings("ignore")
def test_shared_prompts_give_a_familys_own_log_probs_and_gradients_or_are_not_used(family, mode, head):
    model = build(family, {**SHARED, **OWN_HEAD, **PADDED}[family])
    before, implementation = model(torch.tensor([FIRST])).logits, model.config._attn_implementation
    expected = torch.stack([plain(model, sequence) for sequence in SEQUENCES])
    dpo(expected).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    with scoring(model) as scorer:
        assert (scorer.method.mode, scorer.method.head) == (mode, head), scorer.method.why
        layout = lay_out(SEQUENCES, share=scorer.method.share)
        loss, logps, *_ = scorer(layout, of_tokens)
        loss.backward()
    sums = torch.stack([logps[layout.owner == i].double().sum() for i in range(len(SEQUENCES))])
    assert ((sums - expected).abs() <= 1e-4 + 1e-6 * expected.abs()).all(), (sums - expected).abs().max()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(gradients)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-4, msg=name)
    assert model.config._attn_implementation == implementation
    assert torch.equal(model(torch.tensor([FIRST])).logits, before)


def test_a_model_saved_while_it_scores_does_not_name_our_attention(tmp_path):
    model = build("llama", {})
    model.save_pretrained(tmp_path / "before")
    with scoring(model):
        model.save_pretrained(tmp_path / "inside")
    before, inside = ((tmp_path / name / "config.json").read_bytes() for name in ("before", "inside"))
    assert before == inside


DRAWN = ("phimoe",)  # its router draws an expert by lot while it trains, whatever the rates are


@pytest.mark.parametrize("family", [family for family in [*SHARED, *OWN_HEAD, *PADDED] if family not in DRAWN])
@pytest.mark.filterwarnings("ignore")
def test_in_training_nothing_is_dropped_whatever_the_configuration_says(family):
    options = {**SHARED, **OWN_HEAD, **PADDED}[family]
    model = build(family, options, dropout=0.5)
    ids = torch.tensor([FIRST])
    expected = model(ids, use_cache=False).logits
    without_dropout(model)
    model.train()
    for _ in range(2):
        torch.testing.assert_close(model(ids, use_cache=False).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [*DRAWN, "llama", "falcon"])
@pytest.mark.filterwarnings("ignore")
def test_a_policy_that_recomputes_nothing_draws_nothing_by_lot(family):
    model = build(family, {**SHARED, **PADDED}[family], dropout=0.5)
    ids = torch.tensor([FIRST])
    expected = model(ids, use_cache=False).logits
    policy = make_policy(model, Training(gradient_checkpointing=False), seed=0)
    torch.testing.assert_close(policy(ids, use_cache=False).logits, expected)


def test_a_rate_is_taken_from_where_the_forward_reads_it():
    """Else the test above would pass for models that have no rates."""
    model = build("llama", {}, dropout=0.5).train()
    ids = torch.tensor([FIRST])
    assert not torch.allclose(model(ids).logits, model(ids).logits, atol=1e-2)

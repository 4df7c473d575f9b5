import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.model.encode import encode_prompt, load_tokenizer
from dpo_core.model.generate import generate
from dpo_core.model.identity import digest_model, digest_weights
from dpo_core.model.load import load_model
from dpo_core.model.logprobs import (
    _separate_logits,
    _shared_logits,
    can_share,
    collate,
    length_sorted,
    score,
    sequence_sums,
    token_logprobs,
)
from dpo_core.model.reference import pack_shard, response_key, unpack_shard
from tests.tiny import build_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("model"))


SEQUENCES = [((5, 6, 7, 8), (9, 10, 2)), ((5,), (11, 2)), (tuple(range(20, 60)), tuple(range(60, 75)))]


def alone(model, prompt, response):
    """Plain transformers, one sequence at a time, log-softmax over the whole vocabulary."""
    ids = torch.tensor([[*prompt, *response]])
    logps = model(ids).logits.log_softmax(-1)[0]
    return [logps[len(prompt) - 1 + i, token].item() for i, token in enumerate(response)]


def test_batched_log_probs_are_those_of_each_sequence_alone(folder):
    model = load_model(folder)
    found = dict(score(model, SEQUENCES))
    for i, (prompt, response) in enumerate(SEQUENCES):
        assert found[i].tolist() == pytest.approx(alone(model, prompt, response), abs=1e-5)


@pytest.mark.parametrize("share", [True, False], ids=["shared", "separate"])
def test_neither_padding_nor_a_shared_prompt_changes_anything_in_fp64(folder, share):
    model = load_model(folder).double()
    sequences = [*SEQUENCES, (SEQUENCES[2][0], (80, 81, 82, 2)), (SEQUENCES[0][0], (2,))]
    batch = collate(sequences)
    assert len(batch.prompt_ids) == 3  # five responses, three prompts
    logits = (_shared_logits if share else _separate_logits)(model, batch)
    values = -torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    for i, (prompt, response) in enumerate(sequences):
        assert values[batch.owner == i].tolist() == pytest.approx(alone(model, prompt, response), abs=1e-9)


def test_a_model_whose_cache_would_mix_the_answers_is_found_out(folder, caplog):
    class Forgetful(torch.nn.Module):
        """Ignores its cache, as a state-space model would ignore ours."""

        def __init__(self):
            super().__init__()
            self.inner = load_model(folder)

        def forward(self, past_key_values=None, attention_mask=None, position_ids=None, **inputs):
            return self.inner(**inputs)

    assert can_share(load_model(folder))
    assert not can_share(Forgetful())
    assert "prompts_not_shared" in caplog.text


def test_sums_are_per_sequence(folder):
    batch = collate(SEQUENCES)
    values = token_logprobs(load_model(folder), batch, share=True).detach()
    sums = sequence_sums(values, batch.owner, 3)
    assert sums.dtype == torch.float64
    assert sums.tolist() == pytest.approx(
        [values[:3].sum().item(), values[3:5].sum().item(), values[5:].sum().item()], rel=1e-6
    )


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=30), st.integers(10, 300))
@settings(max_examples=50, deadline=None)
def test_length_sorted_batches_hold_every_sequence_once_within_the_budget(lengths, budget):
    sequences = [((0,) * a, (0,) * b) for a, b in lengths]
    batches = list(length_sorted(sequences, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sum(lengths[i]) for i in batch) <= budget


def test_a_shard_gives_back_what_it_was_given():
    values = {"k1": torch.tensor([-1.0, -2.5]), "k2": torch.tensor([-0.1])}
    found = unpack_shard(pack_shard(values))
    assert {key: tensor.tolist() for key, tensor in found.items()} == {key: t.tolist() for key, t in values.items()}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_moving_a_token_across_the_boundary_changes_the_key(prompt, response):
    path = {"model": "m", "dtype": "float32", "threads": 2, "torch": "2.13.0"}
    key = response_key(path, prompt, response)
    assert key == response_key(dict(reversed(path.items())), prompt, response)
    assert key != response_key(path, prompt + response[:1], response[1:])
    for changed in ({**path, "model": "n"}, {**path, "dtype": "bfloat16"}, {**path, "threads": 1}):
        assert key != response_key(changed, prompt, response)


def test_a_model_is_named_by_weights_and_configuration_not_by_its_folder(folder, tmp_path):
    same = build_tiny_model(tmp_path / "same")
    other = build_tiny_model(tmp_path / "other", seed=1)
    assert (digest_model(same), digest_weights(same)) == (digest_model(folder), digest_weights(folder))
    assert digest_weights(other) != digest_weights(folder)


def test_batched_greedy_answers_are_those_of_each_prompt_alone(folder):
    model, tokenizer = load_model(folder).double(), load_tokenizer(folder)
    prompts = [[{"role": "user", "content": text}] for text in ("Hi", "What is your name, and who made you?", "x" * 60)]
    together = generate(model, tokenizer, prompts, max_new_tokens=12, batch_size=3)
    for prompt, answer in zip(prompts, together, strict=True):
        ids = torch.tensor([encode_prompt(prompt, tokenizer)])
        for _ in range(12):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
            if ids[0, -1] == tokenizer.eos_token_id:
                break
        alone_text = tokenizer.decode(ids[0, len(encode_prompt(prompt, tokenizer)) :], skip_special_tokens=True)
        assert answer == alone_text.strip()

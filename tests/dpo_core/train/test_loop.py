import math
import shutil
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM, Gemma3Config, LlamaConfig

from dpo_core.data.pairs import Example, read_examples, write_examples
from dpo_core.errors import InputError
from dpo_core.model.identity import digest_weights
from dpo_core.model.layout import lay_out
from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.model.score import score
from dpo_core.recipe import Lora, Training
from dpo_core.train import checkpoint
from dpo_core.train.batches import Fixed, batch_at, total_steps
from dpo_core.train.checkpoint import load_checkpoint, newest_valid, save_checkpoint
from dpo_core.train.displacement import displaced
from dpo_core.train.loop import ReferenceMismatchError, learning_rate, train
from dpo_core.train.policy import make_optimizer, make_policy, save_policy
from tests.tiny import build_tiny_model, scored_examples

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers", "ignore::FutureWarning:peft")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def examples(folder):
    return scored_examples(folder, 10)


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """accelerate keeps one state a process; each test starts its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def steps_of(folder, examples, training, *, seed=0):
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if training.dtype == "bfloat16" else "no")
    policy = make_policy(load_model(folder), training, seed=seed)
    optimizer = make_optimizer(policy, training)

    def run(start=0, history=()):
        with scoring(policy) as scorer:
            model, prepared = accelerator.prepare(scorer, optimizer)
            options = {"method": scorer.method, "accelerator": accelerator, "start": start}
            options["history"] = history
            yield from train(model, prepared, Fixed(examples, training, seed=seed), training, **options)

    return policy, optimizer, run


@pytest.mark.parametrize("lora", [None, Lora(r=4)], ids=["full", "lora"])
def test_first_dpo_term_is_ln_2_and_training_then_widens_the_margin(folder, examples, lora):
    training = Training(learning_rate=3e-3, num_train_epochs=6, train_batch_size=5, lora=lora)
    *_, run = steps_of(folder, examples, training)
    history = [step.metrics for step in run()]
    assert history[0]["losses/dpo"] == pytest.approx(math.log(2), abs=1e-5)
    assert history[0]["rewards/accuracies"] == pytest.approx(0.5, abs=0.5)
    assert history[-1]["rewards/margins"] > 0.1
    assert history[-1]["rewards/accuracies"] == 1.0


def test_bf16_starts_within_its_own_tolerance_of_ln_2(folder, examples):
    *_, run = steps_of(folder, examples, Training(dtype="bfloat16", train_batch_size=5))
    assert next(run()).metrics["losses/dpo"] == pytest.approx(math.log(2), abs=0.05)


def test_a_pairs_own_weight_scales_its_sft_term(folder, examples):
    weighted = [Example(**{**e.__dict__, "sft_weight": 0.0 if i % 2 else 2.0}) for i, e in enumerate(examples)]
    training = Training(sft_weight=0.5, train_batch_size=10)
    *_, run = steps_of(folder, weighted, training)
    metrics = next(run()).metrics
    nll = [-e.ref_chosen_logps / len(e.chosen_ids) for e in examples]  # policy = reference at step 1
    expected = math.log(2) + 0.5 * sum(2.0 * x for x in nll[::2]) / 10
    assert metrics["loss"] == pytest.approx(expected, abs=1e-5)
    assert metrics["losses/sft"] == pytest.approx(sum(nll) / 10, abs=1e-5)


def test_packing_changes_neither_weights_nor_metrics(folder, examples):
    results = []
    for tokens_per_row in (10_000, 60, 1):
        training = Training(learning_rate=1e-3, sft_weight=1.0, train_batch_size=10, tokens_per_row=tokens_per_row)
        policy, _, run = steps_of(folder, examples, training)
        metrics = [step.metrics["loss"] for step in run()]
        results.append((metrics, torch.cat([p.detach().flatten() for p in policy.parameters()])))
    for metrics, weights in results[1:]:
        assert metrics == pytest.approx(results[0][0], abs=1e-6)
        torch.testing.assert_close(weights, results[0][1], atol=1e-6, rtol=0)


def test_a_stale_reference_stops_the_run_before_the_first_update_with_both_numbers(folder, examples):
    stale = [Example(**{**e.__dict__, "ref_chosen_logps": e.ref_chosen_logps - 0.01}) for e in examples]
    policy, _, run = steps_of(folder, stale, Training())
    before = [p.detach().clone() for p in policy.parameters()]
    with pytest.raises(ReferenceMismatchError, match=r"log p = -\d+\.\d+ and the stored reference -\d+\.\d+ nats"):
        next(run())
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_stops_the_run_and_names_the_rows(folder, examples):
    placed = [Example(**{**e.__dict__, "where": f"pairs.jsonl:{i + 1}"}) for i, e in enumerate(examples)]
    policy, _, run = steps_of(folder, placed, Training(train_batch_size=2, num_train_epochs=2))
    steps = run()
    next(steps)
    next(policy.parameters()).data.fill_(float("nan"))
    batch = batch_at(1, examples=10, batch_size=2, seed=0)
    rows = ", ".join(f"pairs.jsonl:{i + 1}" for i in batch)
    with pytest.raises(InputError, match=rf"step 2: loss or gradient is not finite\n  where: {rows}\n"):
        next(steps)


def test_of_a_batch_the_pair_whose_loss_is_not_finite_is_named_alone(folder, examples):
    placed = [Example(**{**e.__dict__, "where": f"pairs.jsonl:{i + 1}"}) for i, e in enumerate(examples)]
    placed[7] = Example(**{**placed[7].__dict__, "sft_weight": float("inf")})
    *_, run = steps_of(folder, placed, Training(train_batch_size=10, sft_weight=1.0))
    with pytest.raises(InputError, match=r"where: pairs.jsonl:8\n"):
        next(run())


@pytest.mark.parametrize("mode", ["shared", "padded"])
def test_entropy_and_token_accuracy_every_so_many_steps(folder, examples, mode, monkeypatch):
    """Against softmax of plain transformers' logits, one sequence at a time; with our head and with the model's own."""
    from dpo_core.model import modes

    if mode == "padded":
        monkeypatch.setattr(modes, "MODES", ("padded",))
    training = Training(train_batch_size=10, num_train_epochs=4, learning_rate=1e-9, token_metrics_steps=2)
    *_, run = steps_of(folder, examples, training)
    measured = [(step.number, step.metrics.get("entropy"), step.metrics.get("mean_token_accuracy")) for step in run()]
    assert [number for number, entropy, _ in measured if entropy is not None] == [2, 4]
    model, entropies, hits = load_model(folder), [], []
    for example in examples:
        for answer in (example.chosen_ids, example.rejected_ids):
            with torch.no_grad():
                logits = model(torch.tensor([[*example.prompt_ids, *answer]])).logits[
                    0, len(example.prompt_ids) - 1 : -1
                ]
            entropies += torch.distributions.Categorical(logits=logits).entropy().tolist()
            hits += (logits.argmax(-1) == torch.tensor(answer)).tolist() if answer is example.chosen_ids else []
    assert measured[1][1] == pytest.approx(sum(entropies) / len(entropies), abs=1e-4)
    assert measured[1][2] == pytest.approx(sum(hits) / len(hits), abs=1e-9)


def test_float16_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="float16 is not offered: gradients of a summed log-prob leave its range"):
        Training(dtype="float16")


def test_frozen_embeddings_do_not_move_and_the_rest_does(folder, examples):
    policy, _, run = steps_of(folder, examples, Training(learning_rate=1e-2, freeze_embeddings=True))
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    list(run())
    moved = {name for name, p in policy.named_parameters() if not torch.equal(p, before[name])}
    assert "model.embed_tokens.weight" not in moved
    assert len(moved) == len(before) - 1


def test_gradient_checkpointing_computes_twice_and_changes_nothing(folder, examples, monkeypatch):
    from dpo_core.model import attention

    calls: list[str] = []
    plain = attention._causal
    monkeypatch.setattr(attention, "_causal", lambda *a: calls.append("x") or plain(*a))
    gradients, counts = [], []
    for checkpointing in (False, True):
        calls.clear()
        training = Training(train_batch_size=10, learning_rate=1e-2, gradient_checkpointing=checkpointing)
        policy, _, run = steps_of(folder, examples, training)
        list(run())
        counts.append(len(calls))
        gradients.append(torch.cat([p.detach().flatten() for p in policy.parameters()]))
    layers, segments, trials = 2, 20, 2 * 2 * 3  # each of ten pairs has two segments; two trials of three segments
    assert counts == [layers * segments + trials, 2 * layers * segments + trials]
    assert torch.equal(*gradients)


def test_displacement_is_told_once_when_chosen_answers_fall_while_margins_rise():
    def history(displacement, margin):
        return [{"displacement": displacement(i), "rewards/margins": margin(i)} for i in range(60)]

    def told(rows):
        return [i for i in range(60) if displaced(rows[: i + 1])]

    falling = history(lambda i: 0.02 * i, lambda i: 0.1 * i)
    # the mean of the last ten passes 0.5 where 0.02 * (i - 4.5) > 0.5: at i = 30
    assert told(falling) == [30]
    assert "0.51 nats a token less likely" in displaced(falling[:31])
    assert told(history(lambda i: 0.02 * i, lambda i: -0.1 * i)) == []
    assert told(history(lambda i: 0.4, lambda i: 0.1 * i)) == []


def test_displacement_is_nats_a_token(folder, examples):
    *_, run = steps_of(folder, examples, Training(learning_rate=1e-2, train_batch_size=10, num_train_epochs=3))
    last = list(run())[-1].metrics
    tokens = len(examples[0].chosen_ids)  # the same for all
    assert last["displacement"] == pytest.approx(-last["logratios/chosen"] / tokens, rel=1e-9)
    assert abs(last["displacement"]) > 1e-3


def test_resuming_from_a_checkpoint_gives_the_same_bits(folder, examples, tmp_path):
    training = Training(learning_rate=1e-2, num_train_epochs=3, train_batch_size=4)
    whole, _, run = steps_of(folder, examples, training)
    list(run())
    first, optimizer, run = steps_of(folder, examples, training)
    for step in run():
        if step.number == 4:
            save_checkpoint(tmp_path, 4, first, optimizer, {"history": [step.metrics]})
            break
    second, optimizer, run = steps_of(folder, examples, training)
    state = load_checkpoint(newest_valid(tmp_path), second, optimizer)
    numbers = [step.number for step in run(state["step"])]
    assert numbers == [5, 6, 7, 8, 9]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_a_checkpoint_is_restored_on_the_device_of_the_parameters_the_count_of_steps_too(folder, examples, tmp_path):
    training = Training()
    policy, optimizer, run = steps_of(folder, examples, training)
    next(run())
    elsewhere = make_policy(load_model(folder), training, seed=0).to("meta")
    elsewhere.tie_weights()  # which the move has undone
    moved = torch.optim.AdamW(elsewhere.parameters())  # a fused one has no meta device; its state has the same names
    load_checkpoint(save_checkpoint(tmp_path, 1, policy, optimizer, {}), elsewhere, moved)
    devices = {(key, value.device.type) for state in moved.state.values() for key, value in state.items()}
    assert devices == {("step", "meta"), ("exp_avg", "meta"), ("exp_avg_sq", "meta")}


def gemma3():
    """A model of text and pictures; its vision tower has the same names of modules as its decoder."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": 384, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 64, **size}
    vision = {"image_size": 28, "patch_size": 14, **size}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


@pytest.mark.parametrize("lora", [None, Lora(r=4)], ids=["full", "lora"])
def test_what_text_does_not_reach_is_not_trained(lora):
    policy = make_policy(gemma3(), Training(lora=lora), seed=0)
    layout = lay_out([((5, 6, 7), (8, 9)), ((5, 6, 7), (10, 11))], share=True)
    with scoring(policy) as scorer:
        scorer(layout, lambda _, logps, __: logps.sum().double()).loss.backward()
    trained = {name: weight.grad is not None for name, weight in policy.named_parameters() if weight.requires_grad}
    assert trained
    assert all(trained.values())
    assert any("self_attn" in name for name in trained)
    assert not any("vision" in name or "projector" in name for name in trained)


def test_a_weight_that_never_had_a_gradient_is_resumed_without_moments(tmp_path):
    policy = torch.nn.ModuleDict({"read": torch.nn.Linear(2, 2), "unread": torch.nn.Linear(2, 2)})
    optimizer = torch.optim.AdamW(policy.parameters())
    policy["read"](torch.ones(2)).sum().backward()
    optimizer.step()
    folder = save_checkpoint(tmp_path, 1, policy, optimizer, {})
    again = torch.nn.ModuleDict({"read": torch.nn.Linear(2, 2), "unread": torch.nn.Linear(2, 2)})
    resumed = torch.optim.AdamW(again.parameters())
    load_checkpoint(folder, again, resumed)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))
    assert set(resumed.state) == set(again["read"].parameters())


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (["q_proj", "lm_head"], "an adapter of lm_head, whose weight is tied"),
        (["embed_tokens"], "an adapter of model.embed_tokens, whose weight is tied"),
        (["c_attn"], "adapters have no place in the model"),
    ],
)
def test_adapters_that_cannot_be_merged_into_the_model_are_refused(folder, modules, says):
    with pytest.raises(InputError, match=says) as caught:
        make_policy(load_model(folder), Training(lora=Lora(target_modules=modules)), seed=0)
    assert caught.value.where == "training.lora.target_modules"


def test_a_head_of_its_own_may_have_an_adapter():
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = AutoModelForCausalLM.from_config(config)
    policy = make_policy(model, Training(lora=Lora(target_modules=["lm_head"])), seed=0)
    assert any("lm_head.lora_A" in name for name, _ in policy.named_parameters())


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(folder, examples, tmp_path, caplog):
    policy, optimizer, run = steps_of(folder, examples, Training())
    next(run())
    for number in (1, 2, 3):
        save_checkpoint(tmp_path, number, policy, optimizer, {})
    state = tmp_path / "step-00000003" / "state.safetensors"
    damaged = bytearray(state.read_bytes())
    damaged[-1] ^= 1
    state.write_bytes(damaged)
    assert newest_valid(tmp_path).name == "step-00000002"
    assert "checkpoint_damaged" in caplog.text
    assert not (tmp_path / "step-00000001").exists()


def test_adapters_are_merged_into_a_plain_folder(folder, examples, tmp_path):
    policy, _, run = steps_of(folder, examples, Training(learning_rate=1e-2, lora=Lora(r=2)))
    list(run())
    sequence = [((5, 6, 7), (8, 9, 2))]
    adapted = next(score(policy, sequence))[1]
    save_policy(policy, folder, tmp_path / "out")
    merged = next(score(load_model(tmp_path / "out"), sequence))[1]
    torch.testing.assert_close(adapted, merged, atol=1e-5, rtol=0)
    assert digest_weights(tmp_path / "out") != digest_weights(folder)
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_of_a_checkpoint_only_the_process_that_writes_keeps_tensors(folder, examples):
    policy, optimizer, run = steps_of(folder, examples, Training(max_steps=1))
    list(run())
    assert checkpoint._tensors(policy, optimizer, keep=False) == {}
    assert checkpoint._tensors(policy, optimizer, keep=True)


def test_the_bases_weights_of_other_formats_are_not_taken_over(folder, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(folder, base)
    for name in ("model.gguf", "model.onnx", "LICENSE", "vocab.txt"):
        (base / name).write_bytes(b"x")
    save_policy(make_policy(load_model(base), Training(), seed=0), base, tmp_path / "out")
    kept = {file.name for file in (tmp_path / "out").iterdir()}
    assert kept >= {"model.safetensors", "config.json", "tokenizer.json", "LICENSE", "vocab.txt"}
    assert not kept & {"model.gguf", "model.onnx"}


def test_every_epoch_uses_every_pair_once_in_an_order_of_its_own():
    epochs = [[i for s in range(4) for i in batch_at(e * 4 + s, examples=10, batch_size=3, seed=7)] for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_fraction_of_an_epoch_rounds_up():
    # 10 pairs in batches of 4 are 3 steps; a half of them is 1.5, so 2
    epochs = [Training(train_batch_size=4, num_train_epochs=e) for e in (0.01, 0.5, 1.0, 2.0)]
    assert [total_steps(10, training) for training in epochs] == [1, 2, 3, 6]
    assert total_steps(10, Training(train_batch_size=4, max_steps=5)) == 5


def test_learning_rate_warms_up_then_falls_to_one_step_above_zero():
    training = Training(learning_rate=1.0, warmup_ratio=0.2)
    rates = [learning_rate(n, 10, training) for n in range(1, 11)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_examples_survive_the_file_with_every_bit(tmp_path):
    examples = [Example("a", (1, 2), (3,), (4,), -0.1 - 1e-17, -1 / 3, 0.5)]
    write_examples(examples, tmp_path / "e.jsonl")
    assert read_examples(tmp_path / "e.jsonl") == examples


def test_a_pairs_weight_is_its_share_of_the_loss(folder, examples):
    weighted = [Example(**{**e.__dict__, "weight": 0.5 if i % 2 else 1.5}) for i, e in enumerate(examples)]
    training = Training(sft_weight=0.5, train_batch_size=10)
    *_, run = steps_of(folder, weighted, training)
    metrics = next(run()).metrics
    nll = [-e.ref_chosen_logps / len(e.chosen_ids) for e in examples]  # policy = reference at step 1
    shares = [0.5 if i % 2 else 1.5 for i in range(10)]
    expected = sum(w * (math.log(2) + 0.5 * x) for w, x in zip(shares, nll, strict=True)) / 10
    assert metrics["loss"] == pytest.approx(expected, abs=1e-5)
    assert metrics["losses/dpo"] == pytest.approx(math.log(2), abs=1e-5)


def test_a_weight_of_two_pulls_as_two_equal_pairs_do(folder, examples):
    # (2 a + b) / 3 is (4/3 a + 2/3 b) / 2
    twice = [examples[0], examples[0], examples[1]]
    weighted = [Example(**{**e.__dict__, "weight": w}) for e, w in zip(examples[:2], (4 / 3, 2 / 3), strict=True)]
    norms = []
    for batch in (twice, weighted):
        *_, run = steps_of(folder, batch, Training(train_batch_size=len(batch), max_grad_norm=1e9))
        norms.append(next(run()).metrics["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_bco_pairs_shift_is_the_mean_reward_of_the_steps_before_also_after_a_resume(folder, examples, tmp_path):
    training = Training(loss="bco_pair", learning_rate=1e-2, num_train_epochs=3, train_batch_size=4)
    whole, _, run = steps_of(folder, examples, training)
    history = [step.metrics for step in run()]
    pairs, rewards = [4, 4, 2] * 3, [step["rewards/mean"] for step in history]
    for i, step in enumerate(history):  # of ten pairs in batches of 4, 4 and 2
        before = sum(n * r for n, r in zip(pairs[:i], rewards[:i], strict=True)) / max(1, sum(pairs[:i]))
        assert step["rewards/delta"] == pytest.approx(before, rel=1e-12, abs=1e-15)
        assert step["rewards/mean"] == pytest.approx((step["rewards/chosen"] + step["rewards/rejected"]) / 2)
    assert abs(history[-1]["rewards/delta"]) > 1e-3
    first, optimizer, run = steps_of(folder, examples, training)
    for step in run():
        if step.number == 4:
            save_checkpoint(tmp_path, 4, first, optimizer, {"history": history[:4]})
            break
    second, optimizer, run = steps_of(folder, examples, training)
    state = load_checkpoint(newest_valid(tmp_path), second, optimizer)
    rest = [step.metrics for step in run(state["step"], state["history"])]
    assert rest == history[4:]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_bco_pair_keeps_its_reward_shift_in_a_mixture_with_a_loss_of_the_whole_step(folder, examples):
    training = Training(loss={"bco_pair": 1.0, "aot": 0.5}, learning_rate=1e-2, max_steps=6, train_batch_size=1)
    *_, run = steps_of(folder, examples, training)
    history = [step.metrics for step in run()]
    for step in history:  # of one pair: -log s(r_w - d) - log s(d - r_l), and -log s(r_w - r_l)
        chosen, rejected, delta = step["rewards/chosen"], step["rewards/rejected"], step["rewards/delta"]
        expected = math.log1p(math.exp(delta - chosen)) + math.log1p(math.exp(rejected - delta))
        assert step["losses/bco_pair"] == pytest.approx(expected, rel=1e-9)
        assert step["losses/aot"] == pytest.approx(math.log1p(math.exp(rejected - chosen)), rel=1e-9)
    assert abs(history[-1]["rewards/delta"]) > 1e-3


def test_a_model_is_trained_without_a_reference(folder, examples):
    bare = [replace(example, ref_chosen_logps=None, ref_rejected_logps=None) for example in examples]
    training = Training(loss={"simpo": 1, "orpo": 0.5}, beta=2.0, learning_rate=3e-3, num_train_epochs=4)
    *_, run = steps_of(folder, bare, training)
    history = [step.metrics for step in run()]
    assert history[-1]["rewards/accuracies"] == 1.0
    assert history[0]["loss"] > history[-1]["loss"]
    parts = 1 * history[0]["losses/simpo"] + 0.5 * history[0]["losses/orpo"]
    assert history[0]["losses/dpo"] == pytest.approx(parts)
    assert displaced(history * 10) is None


def test_each_step_tells_its_pairs_and_their_own_losses(folder, examples):
    training = Training(max_steps=3, train_batch_size=4, learning_rate=1e-2, tokens_per_row=30)
    *_, run = steps_of(folder, examples, training)
    for step in run():
        batch = batch_at(step.number - 1, examples=len(examples), batch_size=4, seed=0)
        assert [row.id for row in step.rows] == [examples[i].id for i in batch]
        mean = sum(row.loss for row in step.rows) / step.pairs
        assert mean == pytest.approx(step.metrics["loss"], rel=1e-9)

"""The reference store: nothing is scored twice, and nothing wrong is believed."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dpo_core.data.pairs import Pair, read_examples
from dpo_core.model import score as scores
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.identity import digest_model, numeric_path
from dpo_core.model.load import load_model
from dpo_core.recipe_file import load_recipe
from infra.errors import InfraError
from infra.store.folder import FolderStore
from tasks import score as score_module
from tasks.reference import store as reference_module
from tasks.reference.store import ReferenceStore, load_reference
from tasks.score import reference_pass, score
from tasks.train import _write_order
from tests.recipes import NOUNS, keep_rows, pair, tiny_recipe
from tests.tiny import build_tiny_model

PATH = {"model": "m", "dtype": "float32", "device": "cpu", "threads": 1}


def responses(count, *, start=0):
    """Distinct prompts of five tokens, answers of three."""
    return [((1, 2, 3, 4 + i // 100, 10 + i % 100), (7, 8, 9)) for i in range(start, start + count)]


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def reference(store):
    return ReferenceStore(store, PATH)


@pytest.fixture
def forwards(monkeypatch):
    """The responses that the model was asked for, in order; small shards."""
    asked, whole = [], scores.score

    def counted(model, sequences, **options):
        asked.extend(sequences)
        return whole(model, sequences, **options)

    monkeypatch.setattr(scores, "score", counted)
    monkeypatch.setattr(score_module, "SHARD", 10)
    monkeypatch.setattr(score_module, "CHECKED", 0)
    return asked


def run(reference, rows, folder, **options):
    return reference_pass(reference, rows, folder, threads=1, **options)


def read(store):
    """Keys of the objects that are read, as they are."""
    keys, whole = [], store.get_bytes
    store.get_bytes = lambda key: (keys.append(key), whole(key))[1]
    return keys


def test_a_second_pass_asks_the_model_nothing(reference, forwards, tiny_model):
    rows = responses(25)
    assert run(reference, rows, tiny_model) == {"rows": 25, "hits": 0, "forwards": 25}
    first = load_reference(reference.store, PATH, rows)
    assert run(reference, rows, tiny_model) == {"rows": 25, "hits": 25, "forwards": 0}
    assert len(forwards) == 25
    model = load_model(tiny_model)
    for (prompt, answer), key in zip(rows, reference.keys(rows), strict=True):
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        assert torch.allclose(first[key], expected, atol=1e-5)


def test_one_per_cent_of_new_rows_costs_one_per_cent(reference, forwards, tiny_model):
    run(reference, responses(200), tiny_model)
    forwards.clear()
    counts = run(reference, responses(202), tiny_model)
    assert counts == {"rows": 202, "hits": 200, "forwards": 2}
    assert forwards == responses(2, start=200)


def test_a_pass_that_was_killed_goes_on_after_its_last_shard(reference, forwards, tiny_model, monkeypatch):
    appended, whole = [], ReferenceStore.append

    def killed_at_the_third(self, values):
        if len(appended) == 2:
            raise KeyboardInterrupt
        appended.append(whole(self, values))

    monkeypatch.setattr(ReferenceStore, "append", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(reference, responses(35), tiny_model)
    monkeypatch.setattr(ReferenceStore, "append", whole)
    assert run(reference, responses(35), tiny_model) == {"rows": 35, "hits": 20, "forwards": 15}
    assert reference.shards() > set(appended)
    names = read(reference.store)
    reference.locate(reference.keys(responses(35)))
    assert all("/index/" in name for name in names)  # the killed pass's shards are named now too


def test_few_rows_read_few_shards(reference, forwards, tiny_model):
    rows = responses(40)
    run(reference, rows, tiny_model)
    assert len(reference.shards()) == 4
    names = read(reference.store)
    assert set(load_reference(reference.store, PATH, rows[:1])) == set(reference.keys(rows[:1]))
    assert len([name for name in names if "/index/" not in name]) == 1


def test_passes_side_by_side_spoil_nothing(store, forwards, tiny_model, monkeypatch):
    models = [load_model(tiny_model) for _ in range(4)]  # loading is not for threads
    monkeypatch.setattr("tasks.runtime.device.load_on_device", lambda *_, **__: models.pop())

    def one(_):
        return run(ReferenceStore(store, PATH), responses(30), tiny_model)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(3)))
    reference = ReferenceStore(store, PATH)
    assert run(reference, responses(30), tiny_model)["forwards"] == 0
    assert len(load_reference(store, PATH, responses(30))) == 30


def test_many_indexes_become_one(reference, forwards, tiny_model, monkeypatch):
    monkeypatch.setattr(reference_module, "MOST_INDEXES", 3)
    for number in range(4):
        run(reference, responses(5, start=5 * number), tiny_model)
    assert len(list(reference.store.list(f"{reference.folder}/index/"))) == 1
    assert run(reference, responses(20), tiny_model)["forwards"] == 0


def damage(store, key):
    with (store.root / key).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))


@pytest.mark.parametrize("recorded", [True, False])
def test_the_rows_of_a_damaged_shard_alone_are_scored_again(
    reference, forwards, tiny_model, caplog, monkeypatch, recorded
):
    if not recorded:
        monkeypatch.setattr("infra.store.folder._record", lambda *_: None)
    rows = responses(25)
    run(reference, rows, tiny_model)
    before = load_reference(reference.store, PATH, rows)
    broken = sorted(reference.shards())[0]
    held = [key for key, shard in reference.locate(reference.keys(rows)).items() if shard == broken]
    damage(reference.store, broken)
    with caplog.at_level(logging.WARNING, "dpo.score"):
        counts = run(reference, rows, tiny_model)
    assert counts["forwards"] == len(held)
    assert f"reference_damaged key={broken}" in caplog.text
    after = load_reference(reference.store, PATH, rows)
    assert all(torch.allclose(after[key], before[key], atol=1e-5) for key in before)


def test_a_damaged_index_is_made_again(reference, forwards, tiny_model):
    run(reference, responses(25), tiny_model)
    [index] = reference.store.list(f"{reference.folder}/index/")
    damage(reference.store, index)
    assert run(reference, responses(25), tiny_model)["forwards"] == 0
    assert not reference.store.exists(index)
    run(reference, responses(26), tiny_model)
    assert reference.store.exists(index) or len(list(reference.store.list(f"{reference.folder}/index/"))) == 1


def test_a_gap_is_an_error_and_no_number(reference, forwards, tiny_model):
    run(reference, responses(5), tiny_model)
    with pytest.raises(InfraError, match="log-probs of 2 answers are gone"):
        load_reference(reference.store, PATH, responses(7))


def test_values_that_the_model_does_not_give_stop_the_run_and_name_the_shard(
    reference, forwards, tiny_model, monkeypatch
):
    rows = responses(5)
    [shard] = [reference.append({key: torch.tensor([-1.0, -2.0, -3.0]) for key in reference.keys(rows)})]
    monkeypatch.setattr(score_module, "CHECKED", 2)
    with pytest.raises(InfraError, match=r"is -6\.0000 nats and the model gives") as caught:
        run(reference, rows, tiny_model)
    assert caught.value.where == f"{reference.store.url}/{shard}"
    assert len(forwards) == 2
    assert run(reference, rows, tiny_model, force=True)["forwards"] == 5
    assert run(reference, rows, tiny_model)["forwards"] == 0


@pytest.fixture
def plan(tmp_path, monkeypatch, make_plan):
    """A plan on the tiny recipe, whose check has been done: 12 pairs to train on, 6 held out."""
    recipe = tiny_recipe(tmp_path / "recipe")
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    logged = {}
    monkeypatch.setattr(score_module, "attach_run", lambda _: SimpleNamespace(metrics=logged.update))
    folder = tmp_path / "recipe" / "model"
    return make_plan(
        recipe=load_recipe(str(recipe), []).recipe, model_folder=str(folder), model_sha256=digest_model(folder)
    )


def checked(store, count, tokenizer, ids_sha256="i"):
    rows = [pair(NOUNS[i % 12], i, "say") for i in range(count)]
    pairs = [Pair(*(tuple(row[name]) for name in ("prompt", "chosen", "rejected"))) for row in rows]
    keys = {}
    for part, some in (("train", pairs[6:]), ("eval", pairs[:6])):
        keys |= keep_rows(store, f"data/{count}", part, some, tokenizer)
    return SimpleNamespace(**keys, data_sha256=str(count), ids_sha256=ids_sha256, aside_key="")


@pytest.fixture
def tokenizer(plan):
    return load_tokenizer(Path(plan.model_folder))


def test_what_changes_no_log_prob_costs_no_forward(plan, store, forwards, tokenizer):
    """Counted at the model, over the whole task: the figures of `dpo retrain --json`."""
    assert score.fn(plan, checked(store, 100, tokenizer)).forwards == 200
    recipe = plan.recipe
    for changed in (
        recipe,
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"learning_rate": 1e-7})}),
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"beta": 0.5, "sft_weight": 0.0})}),
        recipe.model_copy(update={"training": type(recipe.training).model_validate({"lora": {"r": 8}})}),
        recipe.model_copy(update={"training": type(recipe.training).model_validate({"lora": {"r": 4}}), "seed": 3}),
        recipe.model_copy(update={"name": "other", "gate": recipe.gate.model_copy(update={"alpha": 0.01})}),
    ):
        forwards.clear()
        again = score.fn(plan.model_copy(update={"recipe": changed}), checked(store, 100, tokenizer))
        assert (again.rows, again.hits, again.forwards, len(forwards)) == (200, 200, 0, 0)
    grown = score.fn(plan, checked(store, 101, tokenizer))
    assert (grown.rows, grown.hits, grown.forwards, len(forwards)) == (202, 200, 2, 2)


def test_other_token_ids_of_the_same_text_are_no_look_up(plan, store, forwards, tokenizer):
    """A mended encoding gives other ids of the same rows: their log-probs are others."""
    assert not score.fn(plan, checked(store, 20, tokenizer)).stage.cached
    assert score.fn(plan, checked(store, 20, tokenizer)).stage.cached
    assert not score.fn(plan, checked(store, 20, tokenizer, ids_sha256="j")).stage.cached


def test_a_finished_stage_whose_shard_is_gone_scores_it_again(plan, store, forwards, tokenizer):
    first = score.fn(plan, checked(store, 20, tokenizer))
    assert score.fn(plan, checked(store, 20, tokenizer)).stage.cached
    store.delete(first.shards[0])
    again = score.fn(plan, checked(store, 20, tokenizer))
    assert not again.stage.cached
    assert 0 < again.forwards <= 10
    assert again.hits + again.forwards == again.rows == 40


def write_config(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def bumped(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 1.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


KNOBS = {
    "weights": bumped,
    "rope": lambda folder: write_config(folder, rope_parameters={"rope_theta": 100.0, "rope_type": "default"}),
    "norm": lambda folder: write_config(folder, rms_norm_eps=0.1),
    "activation": lambda folder: write_config(folder, hidden_act="gelu"),
    "version of the library that saved it": lambda folder: write_config(folder, transformers_version="5.0.0"),
    "dtype it was saved in": lambda folder: write_config(folder, dtype="float32"),
    "cache while generating": lambda folder: write_config(folder, use_cache=False),
    "generation": lambda folder: (folder / "generation_config.json").write_text('{"temperature": 0.5}'),
    "chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),  # changes ids alone
    "place": lambda folder: None,
}


@pytest.mark.parametrize("knob", KNOBS)
def test_a_key_changes_with_a_knob_of_the_model_if_and_only_if_a_log_prob_does(knob, tmp_path, tiny_model):
    folder = build_tiny_model(tmp_path / "model")
    KNOBS[knob](folder)
    [row] = responses(1)

    def key_and_value(folder):
        path = numeric_path(model_sha256=digest_model(folder), dtype="float32", device="cpu", threads=1)
        [(_, values)] = scores.score(load_model(folder), [row])
        return ReferenceStore(None, path).keys([row]), values

    (old_key, old), (new_key, new) = key_and_value(tiny_model), key_and_value(folder)
    assert (new_key != old_key) == (not torch.equal(new, old))


@pytest.mark.parametrize("changed", [{"dtype": "bfloat16"}, {"threads": 2}, {"device": "cpu AVX2"}, {"model": "n"}])
def test_arithmetic_is_part_of_the_key(changed):
    known = {"model_sha256": "m", "dtype": "float32", "device": "cpu AVX512", "threads": 1}
    other = {**known, **{("model_sha256" if name == "model" else name): value for name, value in changed.items()}}
    assert numeric_path(**known) != numeric_path(**other)


def test_cpu_threads_are_no_part_of_a_key_on_a_gpu():
    one, two = (numeric_path(model_sha256="m", dtype="float32", device="NVIDIA H100", threads=n) for n in (1, 2))
    assert one == two


def with_loss(plan, **keys):
    training = type(plan.recipe.training).model_validate(keys)
    return plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"training": training})})


def order_of(plan, store, rows, scored, folder):
    _write_order(folder, store, plan, rows, scored)
    return json.loads((folder / "order.json").read_text()), read_examples(folder / "examples.jsonl")


def test_a_loss_without_reference_scores_nothing_and_trains_without(plan, store, forwards, tokenizer, tmp_path):
    plan, rows = with_loss(plan, loss="simpo"), checked(store, 20, tokenizer)
    scored = score.fn(plan, rows)
    assert (scored.rows, scored.hits, scored.forwards, scored.shards, len(forwards)) == (0, 0, 0, [], 0)
    assert (scored.stage.name, scored.stage.cached, scored.stage.key) == ("score", True, "")
    assert list(store.list("reference/")) == []
    order, examples = order_of(plan, store, rows, scored, tmp_path / "run")
    assert order["from_reference"] is False
    assert {(e.ref_chosen_logps, e.ref_rejected_logps) for e in examples} == {(None, None)}


def test_of_a_longer_answer_the_first_tokens_are_summed_apart_for_ld_dpo(plan, store, tokenizer, tmp_path):
    row = pair("river", 1, "say") | {"rejected": [{"role": "assistant", "content": "nay"}]}
    some = [Pair(*(tuple(row[name]) for name in ("prompt", "chosen", "rejected")))]
    keys = keep_rows(store, "data/d", "train", some, tokenizer) | keep_rows(store, "data/d", "eval", some, tokenizer)
    rows = SimpleNamespace(**keys, data_sha256="d", ids_sha256="i", aside_key="")
    plan = with_loss(plan, ld_alpha=0.5)
    _, [example] = order_of(plan, store, rows, score.fn(plan, rows), tmp_path / "run")
    shorter = len(example.rejected_ids)
    assert shorter < len(example.chosen_ids)
    sequences = [(example.prompt_ids, example.chosen_ids), (example.prompt_ids, example.rejected_ids)]
    tokens = dict(scores.score(load_model(plan.model_folder), sequences))
    expected = [tokens[0].sum(), tokens[1].sum(), tokens[0][:shorter].sum(), tokens[1].sum()]
    found = [example.ref_chosen_logps, example.ref_rejected_logps]
    found += [example.ref_chosen_public_logps, example.ref_rejected_public_logps]
    assert found == pytest.approx([value.item() for value in expected], rel=1e-5)
    _, [plain] = order_of(with_loss(plan), store, rows, score.fn(plan, rows), tmp_path / "plain")
    assert plain.ref_chosen_public_logps is None

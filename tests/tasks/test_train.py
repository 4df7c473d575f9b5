"""A finished training that the store did not take is not trained again; any other is."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from dpo_core.data.pairs import write_examples
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.identity import digest_weights
from dpo_core.model.stops import named_ends, stop_tokens
from dpo_core.recipe import Training
from tasks.runtime.stages import code_digest
from tasks.train import CODE, _is_trained
from tasks.training import worker
from tests.tiny import build_saying, scored_examples


@pytest.fixture
def finished(tmp_path, tiny_model):
    (tmp_path / "model").symlink_to(tiny_model)
    (tmp_path / "order.json").write_text(order(code_digest(CODE)))
    (tmp_path / "result.json").write_text(result(digest_weights(tiny_model)))
    return tmp_path


def order(code, folder="m", **training):
    training = Training(**training).model_dump()
    given = {
        "model_folder": str(folder),
        "from_reference": True,
        "trusted_code": None,
        "training": training,
        "seed": 0,
        "threads": 1,
        "run_id": "r",
    }
    return json.dumps({**given, "code": code})


def result(weights):
    figures = {"steps": 1, "first_dpo_loss": 0.69, "pairs_per_second": 1.0, "history": [{"step": 1, "loss": 0.69}]}
    return json.dumps({"weights_sha256": weights, **figures})


def test_a_finished_training_is_known_by_its_weights_and_its_code(finished):
    assert _is_trained(finished)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", result("0" * 64)),
        ("result.json", "{}"),
        ("order.json", order("older")),
        ("order.json", "{}"),
    ],
)
def test_other_weights_other_code_and_half_a_result_are_trained_again(finished, name, content):
    (finished / name).write_text(content)
    assert not _is_trained(finished)


def test_without_a_result_there_is_no_training(finished):
    (finished / "result.json").unlink()
    assert not _is_trained(finished)


def test_a_trained_model_names_every_token_at_which_its_answers_end(tmp_path, monkeypatch):
    start = build_saying(tmp_path / "start", "yes", special=False, temperature=0.6)
    tracker = SimpleNamespace(metrics=lambda *_: None, tags=lambda *_: None, in_background=nullcontext)
    monkeypatch.setattr(worker, "attach_run", lambda _: tracker)
    (tmp_path / "order.json").write_text(order("c", start, max_steps=1, learning_rate=1e-9))
    write_examples(scored_examples(start, 4), tmp_path / "examples.jsonl")
    worker.run(tmp_path)
    wanted = stop_tokens(named_ends(start), load_tokenizer(start))
    assert load_tokenizer(start).convert_ids_to_tokens(wanted) == ["<|endoftext|>", "<|im_end|>"]
    assert named_ends(tmp_path / "model") == wanted
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["temperature"] == 0.6

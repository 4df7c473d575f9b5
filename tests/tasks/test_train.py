"""A finished training that the store did not take is not trained again; any other is."""

import json

import pytest

from dpo_core.model.identity import digest_weights
from dpo_core.recipe import Training
from tasks.runtime.stages import code_digest
from tasks.train import CODE, _is_trained


@pytest.fixture
def finished(tmp_path, tiny_model):
    (tmp_path / "model").symlink_to(tiny_model)
    (tmp_path / "order.json").write_text(order(code_digest(CODE)))
    (tmp_path / "result.json").write_text(result(digest_weights(tiny_model)))
    return tmp_path


def order(code):
    training = Training().model_dump()
    given = {"model_folder": "m", "trusted_code": None, "training": training, "seed": 0, "threads": 1, "run_id": "r"}
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

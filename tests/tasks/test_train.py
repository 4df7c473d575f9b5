"""A finished training that the store did not take is not trained again; any other is."""

import json

import pytest

from dpo_core.model.identity import digest_weights
from tasks.runtime.stages import code_digest
from tasks.train import CODE, _is_trained


@pytest.fixture
def finished(tmp_path, tiny_model):
    (tmp_path / "model").symlink_to(tiny_model)
    (tmp_path / "order.json").write_text(json.dumps({"code": code_digest(CODE)}))
    (tmp_path / "result.json").write_text(json.dumps({"weights_sha256": digest_weights(tiny_model)}))
    return tmp_path


def test_a_finished_training_is_known_by_its_weights_and_its_code(finished):
    assert _is_trained(finished)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", {"weights_sha256": "0" * 64}),
        ("result.json", {}),
        ("order.json", {"code": "older"}),
        ("order.json", {}),
    ],
)
def test_other_weights_other_code_and_half_a_result_are_trained_again(finished, name, content):
    (finished / name).write_text(json.dumps(content))
    assert not _is_trained(finished)


def test_without_a_result_there_is_no_training(finished):
    (finished / "result.json").unlink()
    assert not _is_trained(finished)

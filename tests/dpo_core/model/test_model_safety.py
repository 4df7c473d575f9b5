"""A model folder is data: one that could run code is refused before anything of it is loaded."""

import json

import pytest

from dpo_core.errors import InputError
from dpo_core.model.load import load_model
from tests.tiny import build_tiny_model


@pytest.fixture
def folder(tmp_path):
    return build_tiny_model(tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["modeling_evil.py", "pytorch_model.bin", "training_args.bin", "optimizer.pt", "x.pkl", "checkpoint/x.pt"]
)
def test_a_folder_with_a_program_or_a_pickle_is_refused_unread(folder, tmp_path, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    with pytest.raises(InputError, match="can run code") as caught:
        load_model(folder)
    assert caught.value.where == str(folder / name)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_pointer_to_code_of_the_models_own_is_refused(folder, name):
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**values, "auto_map": {"AutoModelForCausalLM": "evil--modeling.Evil"}}))
    with pytest.raises(InputError, match="auto_map"):
        load_model(folder)


def test_a_configuration_that_is_cut_off_is_named(folder):
    (folder / "config.json").write_text('{"model_type": "lla')
    with pytest.raises(InputError, match=r"config\.json is no JSON object"):
        load_model(folder)

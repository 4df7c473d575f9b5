"""An adapter folder named as a model: merged into its base once, or refused with what helps."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.load import load_model
from tasks.runtime.models import local_model, require_usable
from tests.tiny import build_tiny_model

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def base(tmp_path):
    return build_tiny_model(tmp_path / "base")


@pytest.fixture
def adapter(base, tmp_path):
    """A LoRA that changes the base, as `save_pretrained` leaves it; its merged logits as `adapter.logits`."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = get_peft_model(load_model(base), config)
    torch.manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.3)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "README.md").unlink(missing_ok=True)
    torch.save(wrapped(IDS).logits, tmp_path / "logits")
    return tmp_path / "adapter"


def logits(tmp_path):
    return torch.load(tmp_path / "logits")


def change(adapter, **values):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | values))


def refused(adapter, home):
    with pytest.raises(InputError) as caught:
        local_model(str(adapter), home)
    return caught.value


def test_it_is_merged_with_its_base_once_and_answers_as_both_together(adapter, base, tmp_path):
    folder = local_model(str(adapter), tmp_path / "home")
    assert folder.is_relative_to(tmp_path / "home" / "downloads")
    torch.testing.assert_close(load_model(folder)(IDS).logits, logits(tmp_path), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(load_model(base)(IDS).logits, logits(tmp_path), atol=1e-2)
    assert load_tokenizer(folder).chat_template == load_tokenizer(base).chat_template
    require_usable(folder)
    changed = (folder / "model.safetensors").stat().st_mtime_ns
    assert local_model(str(adapter), tmp_path / "home") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == changed


@pytest.mark.parametrize("begun", [False, "gaussian", "orthogonal"])
def test_how_it_began_does_not_matter_where_the_base_stayed_as_it_is(adapter, tmp_path, begun):
    change(adapter, init_lora_weights=begun)
    folder = local_model(str(adapter), tmp_path / "home")
    torch.testing.assert_close(load_model(folder)(IDS).logits, logits(tmp_path), atol=1e-4, rtol=1e-4)


def test_another_base_or_another_adapter_is_another_model(adapter, base, tmp_path):
    first = local_model(str(adapter), tmp_path / "home")
    build_tiny_model(base, seed=1)
    second = local_model(str(adapter), tmp_path / "home")
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, adapter / "adapter_model.safetensors")
    assert len({first, second, local_model(str(adapter), tmp_path / "home")}) == 3


def test_its_own_tokenizer_is_taken(adapter, base, tmp_path):
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(adapter)
    assert load_tokenizer(local_model(str(adapter), tmp_path / "home")).chat_template == tokenizer.chat_template


def test_a_base_that_is_not_there_is_named_and_the_advice_helps(adapter, base, tmp_path):
    change(adapter, base_model_name_or_path="/gone/to/base")
    error = refused(adapter, tmp_path)
    assert "its base /gone/to/base cannot be used: there is no such model" in error.says
    assert "write the place of its base into base_model_name_or_path" in error.do
    change(adapter, base_model_name_or_path=str(base))
    assert local_model(str(adapter), tmp_path).is_dir()


def test_merging_it_yourself_helps_too(adapter, base, tmp_path):
    from peft import PeftModel

    change(adapter, base_model_name_or_path="/gone")
    assert "merge_and_unload" in refused(adapter, tmp_path).do
    PeftModel.from_pretrained(load_model(base), adapter).merge_and_unload().save_pretrained(tmp_path / "merged")
    load_tokenizer(base).save_pretrained(tmp_path / "merged")
    assert local_model(str(tmp_path / "merged"), tmp_path) == tmp_path / "merged"


def drop_one(adapter):
    tensors = load_file(adapter / "adapter_model.safetensors")
    del tensors[next(iter(tensors))]
    save_file(tensors, adapter / "adapter_model.safetensors")


def add_one(adapter):
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors["base_model.model.model.layers.9.mlp.up_proj.lora_A.weight"] = torch.ones(4, 32)
    save_file(tensors, adapter / "adapter_model.safetensors")


def on_the_head(adapter):
    """Of the tiny model its weight is the embeddings', too."""
    rows = load_file(adapter.parent / "base" / "model.safetensors")["model.embed_tokens.weight"].shape[0]
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.ones(4, 32)
    tensors["base_model.model.lm_head.lora_B.weight"] = torch.ones(rows, 4)
    save_file(tensors, adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    change(adapter, target_modules=[*config["target_modules"], "lm_head"])


FAULTS = {
    "another type": (lambda a: change(a, peft_type="IA3"), "an adapter of type IA3 cannot be merged"),
    "no base": (lambda a: change(a, base_model_name_or_path=None), "does not name its base"),
    "a revision": (lambda a: change(a, revision="v2"), "wants the revision v2"),
    "itself": (lambda a: change(a, base_model_name_or_path=str(a)), "it is an adapter too"),
    "no weights": (lambda a: (a / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
    "a pickle": (lambda a: (a / "adapter_model.bin").write_text("x"), "can run code"),
    "a tensor less": (drop_one, "does not fit its base: .* come from no file"),
    "a tensor more": (add_one, "does not fit its base|are not used"),
    "another rank": (lambda a: change(a, r=8), "cannot be merged into"),
    "damaged weights": (lambda a: (a / "adapter_model.safetensors").write_bytes(b"x" * 99), "no sound safetensors"),
    "PiSSA": (lambda a: change(a, init_lora_weights="pissa_niter_4"), "begun by pissa_niter_4, which changes the base"),
    "OLoRA": (lambda a: change(a, init_lora_weights="olora"), "begun by olora, which changes the base"),
    "a tied head": (on_the_head, "changes lm_head, whose weight is tied"),
    "no JSON": (lambda a: (a / "adapter_config.json").write_text("{"), "adapter_config.json is no JSON object"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_adapter_that_cannot_be_merged_as_it_is_is_refused(adapter, tmp_path, name):
    spoil, says = FAULTS[name]
    spoil(adapter)
    error = refused(adapter, tmp_path / "home")
    assert re.search(says, error.says), error.says
    assert error.do
    assert not list((tmp_path / "home").rglob("model.safetensors"))


def test_an_adapter_beside_whole_weights_is_refused_and_either_advice_helps(adapter, base, tmp_path):
    both = shutil.copytree(base, tmp_path / "both")
    for file in adapter.iterdir():
        shutil.copy(file, both / file.name)
    error = refused(both, tmp_path / "home")
    assert "adapter_config.json and adapter_model.safetensors" in error.says
    own = tmp_path / "own"
    own.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (both / name).rename(own / name)
    assert local_model(str(both), tmp_path / "home") == both
    assert local_model(str(own), tmp_path / "home").is_dir()

"""The model that is named is the one that is loaded: each folder of which that is not certain is refused."""

import json
import os
import re
import shutil

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.folder.files import require_model_folder
from dpo_core.model.folder.sizes import require_fit
from dpo_core.model.folder.tokens import require_embedded
from dpo_core.model.folder.trial import require_bounded
from dpo_core.model.identity import digest_tokenizer
from dpo_core.model.load import convert_gguf, load_model
from tests.tiny import build_tiny_model

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    return build_tiny_model(tmp_path / "model")


def configure(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def rewrite(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def shard(folder, name="model-00001-of-00001.safetensors", **more):
    """The folder as one shard with an index."""
    names = list(load_file(folder / WEIGHTS))
    (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    (folder / INDEX).write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, name)} | more)
    )


def refused(folder):
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert caught.value.where
    assert caught.value.do
    return caught.value.says


def misname(tensors):
    tensors["model.layer.0.self_attn.q_proj.weight"] = tensors.pop("model.layers.0.self_attn.q_proj.weight")


def both(folder):
    names = list(load_file(folder / WEIGHTS))
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, WEIGHTS)}))


ONE = "model.layers.0.self_attn.q_proj.weight"
WEIGHTS_NOT_NAMED = {
    "none of the tensors": (
        lambda f: rewrite(f, lambda t: [t.pop(n) for n in list(t)]),
        "21 parameters come from no file",
    ),
    "few of the tensors": (
        lambda f: rewrite(f, lambda t: [t.pop(n) for n in list(t) if "layers.1" in n]),
        "9 parameters come from no file",
    ),
    "a misnamed tensor": (
        lambda f: rewrite(f, misname),
        rf"1 parameters come from no file \({ONE}\); 1 tensors of the files are not used \(model\.layer\.0",
    ),
    "a tensor more": (lambda f: rewrite(f, lambda t: t.update(extra=torch.ones(2))), r"not used \(extra\)"),
    "the same once more without prefix": (
        lambda f: rewrite(f, lambda t: t.update({ONE.removeprefix("model."): t[ONE].clone()})),
        "with and without 'model' before it",
    ),
    "another shape": (lambda f: rewrite(f, lambda t: t.update({ONE: torch.ones(32, 16)})), "1 shapes differ"),
    "fewer layers than the file": (lambda f: configure(f, num_hidden_layers=1), "9 tensors of the files are not used"),
    "more layers than the file": (lambda f: configure(f, num_hidden_layers=3), "9 parameters come from no file"),
    "another width": (lambda f: configure(f, intermediate_size=128), "6 shapes differ"),
    "untied, without output weights": (
        lambda f: configure(f, tie_word_embeddings=False),
        r"1 parameters come from no file \(lm_head",
    ),
    "tied, with other output weights": (
        lambda f: rewrite(f, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] * 2})),
        "ties lm_head.weight",
    ),
    "a file and an index": (both, "has both model.safetensors and model.safetensors.index.json"),
    "an index into a folder": (lambda f: shard(f, "sub/model.safetensors"), "names 'sub/model.safetensors'"),
    "an index upwards": (lambda f: shard(f, "../model.safetensors"), "which is no safetensors file of this folder"),
    "an index to a place": (lambda f: shard(f, str(f / "model-00001-of-00001.safetensors")), "no safetensors file of"),
    "an index to nothing": (lambda f: shard(f, "gone.safetensors"), r"names gone\.safetensors, which is not in"),
    "an empty index": (lambda f: shard(f, weight_map={}), "names no weight files"),
    "a file beside": (
        lambda f: shutil.copy(f / WEIGHTS, f / "x.safetensors"),
        r"x\.safetensors lies beside the weights",
    ),
    "files of another layout": (
        lambda f: (f / WEIGHTS).rename(f / "shard-00001-model-00001-of-00001.safetensors"),
        "there is no model.safetensors.index.json, and",
    ),
    "transformers_weights": (
        lambda f: (shutil.copy(f / WEIGHTS, f / "x.safetensors"), configure(f, transformers_weights="x.safetensors"))[
            0
        ],
        "names other weights: x.safetensors",
    ),
    "an adapter beside": (
        lambda f: (f / "adapter_config.json").write_text('{"peft_type": "LORA"}'),
        r"whole weights and an adapter \(adapter_config\.json\)",
    ),
    "NaN": (lambda f: rewrite(f, lambda t: t[ONE].fill_(float("nan"))), rf"1 tensors .* NaN .*\({ONE}\)"),
    "infinity": (lambda f: rewrite(f, lambda t: t[ONE].view(-1)[:1].fill_(float("-inf"))), "1 tensors .* NaN"),
    "eight bits": (lambda f: rewrite(f, lambda t: t.update({ONE: t[ONE].to(torch.int8)})), "quantised .* as I8"),
    "quantised": (
        lambda f: configure(f, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        r"quantised \(quantization_config: bitsandbytes\)",
    ),
    "attention from a hub": (lambda f: configure(f, attn_implementation="some/kernel"), "code of another place"),
    "10^8 layers": (lambda f: configure(f, num_hidden_layers=10**8), "num_hidden_layers: 100000000, the weights"),
    "a vocabulary of 10^12": (lambda f: configure(f, vocab_size=10**12), "vocab_size: 1000000000000"),
    "heads of 10^10": (lambda f: configure(f, head_dim=10**10), "head_dim: 10000000000"),
    "a type that is not known": (lambda f: configure(f, model_type="alien"), "does not know this type of model"),
    "a type that answers nothing": (
        lambda f: configure(f, model_type="vit"),
        "no causal language model|cannot be loaded",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS_NOT_NAMED)
def test_weights_that_are_not_exactly_the_folders_are_refused(folder, name):
    change, says = WEIGHTS_NOT_NAMED[name]
    change(folder)
    assert re.search(says, found := refused(folder)), found


def truncated(file):
    file.write_bytes(file.read_bytes()[:-5])


def header(change):
    def rewrite_header(file):
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        text = change(data[8 : 8 + length])
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return rewrite_header


HEADERS = {
    "cut off": truncated,
    "empty": lambda file: file.write_bytes(b""),
    "a length of 2^63": lambda file: file.write_bytes((2**63).to_bytes(8, "little") + file.read_bytes()[8:]),
    "no JSON": header(lambda text: b"x" + text[1:]),
    "deep JSON": header(lambda text: b"[" * 100_000),
    "no object": header(lambda text: b"[]"),
    "a place of another": header(lambda text: text.replace(b'"data_offsets":[0,', b'"data_offsets":[4,', 1)),
    "a negative shape": header(lambda text: text.replace(b'"shape":[32', b'"shape":[-32', 1)),
    "a name twice": header(lambda text: text.replace(b"layers.1.mlp.up_proj", b"layers.0.mlp.up_proj")),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_safetensors_file_that_is_not_what_its_header_says_is_refused(folder, name):
    HEADERS[name](folder / WEIGHTS)
    assert "is no sound safetensors file" in refused(folder)


def test_shards_that_the_index_names_are_the_model(folder, tmp_path):
    whole = load_model(folder).state_dict()
    shard(folder)
    tensors = load_file(folder / "model-00001-of-00001.safetensors")
    half = {name: tensors.pop(name) for name in list(tensors)[::2]}
    for file, part in (("a.safetensors", half), ("b.safetensors", tensors)):
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model-00001-of-00001.safetensors").unlink()
    places = dict.fromkeys(half, "a.safetensors") | dict.fromkeys(tensors, "b.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    found = load_model(folder).state_dict()
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    save_file(
        half | {ONE: tensors.get(ONE, half.get(ONE)).clone()}, folder / "a.safetensors", metadata={"format": "pt"}
    )
    save_file(tensors | {ONE: torch.ones(32, 32)}, folder / "b.safetensors", metadata={"format": "pt"})
    assert f"{ONE} stands in two weight files" in refused(folder)


def test_links_to_files_are_files_as_in_the_hubs_cache(folder, tmp_path):
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for file in folder.iterdir():
        (linked / file.name).symlink_to(file)
    assert torch.equal(load_model(linked).lm_head.weight, load_model(folder).lm_head.weight)
    (linked / "more.txt").symlink_to(tmp_path / "gone")
    assert "a link that leads nowhere" in refused(linked)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "tokenizer.json", "x.py", "chat_template.jinja"])
def test_nothing_but_a_regular_file_is_opened(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert f"{name} in the model folder is no regular file" in refused(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    assert f"{name} in the model folder is no regular file" in refused(folder)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_folder_that_is_named_like_a_file_is_refused(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    assert "config.json" in refused(folder) or "not in the folder" in refused(folder)


def test_tensors_that_are_no_weights_may_lie_in_the_file(folder):
    before = load_model(folder).state_dict()
    rewrite(folder, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    after = load_model(folder).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
TEMPLATES = {
    "loops": (LOOPS, "does not end"),
    "allocates": ("{{ 'a' * 10**12 }}", "MemoryError|does not end|OverflowError"),
    "writes much": ("{% for m in messages %}{{ 'a' * 99999 }}{% endfor %}", "299,997 characters"),
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("place", ["chat_template.jinja", "additional_chat_templates/tool_use.jinja", "config"])
def test_a_template_is_rendered_under_limits(folder, monkeypatch, name, place):
    monkeypatch.setattr("dpo_core.model.folder.trial.SECONDS", 1)
    text, says = TEMPLATES[name]
    if place == "config":
        (folder / "chat_template.jinja").unlink()
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["chat_template"] = [{"name": "default", "template": text}]
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    else:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(text)
    with pytest.raises(InputError, match=says):
        require_bounded(folder)


def test_a_normaliser_that_doubles_text_is_stopped(folder, monkeypatch):
    monkeypatch.setattr("dpo_core.model.folder.trial.SECONDS", 3)
    data = json.loads((folder / "tokenizer.json").read_text())
    double = {"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"}
    data["normalizer"] = {"type": "Sequence", "normalizers": [double] * 60}
    (folder / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"tokenizer\.json cannot be used"):
        require_bounded(folder)


def test_usual_templates_and_tokenizers_pass_the_trial(folder):
    require_bounded(folder)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{% generation %}{{ m.content | trim }}{% endgeneration %}{% if loop.first %}"
        "{% continue %}{% endif %}{% endfor %}{{ strftime_now('%d %b %Y') }}{{ tools | tojson(indent=4) }}"
    )
    require_bounded(folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system turn') }}")
    require_bounded(folder)


def rows_of(folder):
    model = require_fit(folder, require_model_folder(folder))
    return model.get_input_embeddings().weight.shape[0]


def test_a_token_that_comes_up_has_a_row_in_the_embeddings(folder):
    tokenizer, rows = load_tokenizer(folder), rows_of(folder)
    require_embedded(tokenizer, rows, folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})  # as in Gemma 3 1B: nothing writes it
    require_embedded(tokenizer, rows, folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "{{ '<' + 'image>' }}")
    with pytest.raises(
        InputError, match=rf"gives ids up to {rows} \('<image>'\), the model has {rows} embeddings"
    ) as e:
        require_embedded(tokenizer, rows, folder)
    assert "resize" in e.value.do
    model = load_model(folder)  # the advice
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    require_embedded(tokenizer, rows_of(folder), folder)
    tokenizer.add_tokens(["new word"])
    with pytest.raises(InputError, match="'new word'"):
        require_embedded(tokenizer, rows_of(folder), folder)


CHANGES = {
    "chat_template.jinja": "{{ messages }}",
    "additional_chat_templates/rag.jinja": "{{ messages }}",
    "added_tokens.json": '{"<new>": 300}',
    "special_tokens_map.json": '{"pad_token": "x"}',
    "processor_config.json": "{}",
    "preprocessor_config.json": "{}",
    "chat_template.json": '{"chat_template": "x"}',
    "tokenizer.model": "spm",
    "spiece.model": "spm",
    "vocab.bpe": "a b",
    "qwen.tiktoken": "a",
    "generation_config.json": '{"eos_token_id": [1, 2]}',
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_tokenizers_digest_names_all_that_it_may_read(folder, name):
    before = digest_tokenizer(folder)
    (folder / "README.md").write_text("papers")
    assert digest_tokenizer(folder) == before
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(CHANGES[name])
    assert digest_tokenizer(folder) != before


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGML" + bytes(40), b"GGUF\3\0\0\0" + b"\xff" * 16 + bytes(99)])
def test_a_gguf_file_whose_header_cannot_be_true_is_refused(tmp_path, data):
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(InputError, match="no sound GGUF file"):
        convert_gguf(tmp_path / "model.gguf", tmp_path / "out")


def test_a_gguf_file_that_holds_no_model_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(200))
    with pytest.raises(InputError, match="the GGUF file cannot be converted") as caught:
        convert_gguf(tmp_path / "model.gguf", tmp_path / "out")
    assert "fetch the file again" in caught.value.do
    assert not (tmp_path / "out").exists()


def write_gguf(file, kind, *tables, scaling=None, factor=None):
    """What llama.cpp writes of a model's positions, and little else."""
    writer = gguf.GGUFWriter(file, kind)
    writer.add_name("positions")
    writer.add_block_count(1)
    if scaling is not None:
        writer.add_rope_scaling_type(scaling)
    if factor is not None:
        writer.add_rope_scaling_factor(factor)
    for name in tables:
        writer.add_tensor(name, np.array([1.0, 8.0], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


YARN, LINEAR, NONE = gguf.RopeScalingType.YARN, gguf.RopeScalingType.LINEAR, gguf.RopeScalingType.NONE


@pytest.mark.parametrize(
    ("kind", "tables", "scaling", "says"),
    [
        ("llama", ["rope_freqs.weight"], {}, "rope_freqs.weight"),
        ("phi3", ["rope_factors_long.weight", "rope_factors_short.weight"], {}, "rope_factors_long.weight"),
        ("qwen2", [], {"scaling": YARN, "factor": 4.0}, "yarn, factor 4"),
        ("gemma3", [], {"scaling": LINEAR, "factor": 8.0}, "linear, factor 8"),
        ("llama", [], {"factor": 2.0}, "linear, factor 2"),  # llama.cpp's when no type is named
    ],
)
def test_a_gguf_file_whose_positions_would_be_read_unscaled_is_refused(tmp_path, kind, tables, scaling, says):
    file = write_gguf(tmp_path / "model.gguf", kind, *tables, **scaling)
    with pytest.raises(InputError, match="scales its positions") as caught:
        convert_gguf(file, tmp_path / "out")
    assert f"({says}" in caught.value.says
    assert "the model that the file was made from" in caught.value.do


@pytest.mark.parametrize(
    ("kind", "tables", "scaling"),
    [
        ("llama", [], {}),
        ("llama", [], {"scaling": NONE, "factor": 4.0}),
        ("llama", [], {"scaling": YARN, "factor": 1.0}),
        ("gemma4", ["rope_freqs.weight"], {}),  # transformers scales the positions of every Gemma 4 so
    ],
)
def test_a_gguf_file_whose_positions_are_read_as_they_are_is_converted(tmp_path, monkeypatch, kind, tables, scaling):
    monkeypatch.setattr("dpo_core.model.load._convert", lambda _, partial: partial.mkdir())  # it has no layers
    file = write_gguf(tmp_path / "model.gguf", kind, *tables, **scaling)
    assert convert_gguf(file, tmp_path / "out").is_dir()

"""Mutations of a tiny model folder: each takes a folder and a generator, and spoils one thing or leaves it sound."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
VALUES: tuple[Any, ...] = (
    0,
    1,
    -1,
    2,
    3,
    4,
    8,
    16,
    33,
    64,
    10**5,
    10**8,
    10**12,
    2**63,
    0.0,
    0.1,
    0.5,
    1e-6,
    1e30,
    -0.5,
)
ODD: tuple[Any, ...] = (None, True, False, "", "x", "silu", "gelu", [], {}, [1], ["x"], {"a": 1}, float("nan"), [[[]]])
KNOWN = {
    "head_dim": (4, 8, 16, 10**9),
    "attention_bias": (True, False),
    "mlp_bias": (True,),
    "tie_word_embeddings": (True, False),
    "attention_dropout": (0.1, 1.0),
    "rope_parameters": (
        {"rope_theta": 100.0, "rope_type": "default"},
        {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0},
        {"rope_theta": 1e4, "rope_type": "alien"},
        {"rope_theta": 1e4, "rope_type": "dynamic", "factor": 1e30},
        "x",
    ),
    "rope_theta": (10.0, "x", 0),
    "model_type": ("mistral", "qwen2", "gemma", "gpt2", "bert", "vit", "t5", "alien", "", "mamba2", "gpt_neo", "opt"),
    "architectures": (["LlamaForSequenceClassification"], ["Alien"], "x"),
    "auto_map": ({"AutoConfig": "evil.Evil"}, "x", {"AutoModelForCausalLM": "a/b--c.D"}),
    "quantization_config": ({"quant_method": "bitsandbytes"}, {"quant_method": "gptq", "bits": 4}, {}),
    "transformers_weights": (WEIGHTS, "x.safetensors", "../x.safetensors"),
    "dtype": ("float16", "bfloat16", "float32", "int8", "alien"),
    "torch_dtype": ("float16", "alien"),
    "hidden_act": ("gelu", "relu", "alien"),
    "sliding_window": (4, 10**9),
    "layer_types": (["full_attention"] * 2, ["sliding_attention"] * 2, ["alien"] * 2, ["full_attention"] * 9),
    "attn_implementation": ("eager", "some/kernel", "flash_attention_2", "alien"),
    "_attn_implementation": ("eager", "some/kernel", "alien"),
    "text_config": ({"num_hidden_layers": 10**8}, {}),
    "num_experts": (10**8, 4),
    "vocab_size": (300, 10**9),
    "num_labels": (3, 10**8),
    "id2label": ({"0": "x"},),
    "fusion_config": ({"x": 1},),
    "max_position_embeddings": (1, 4, 10**12),
    "pretraining_tp": (1, 2, 0),
    "is_encoder_decoder": (True,),
    "cross_attention_hidden_size": (4,),
    "num_key_value_heads": (1, 2, 4, 3),
}


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def _header(file: Path) -> tuple[dict[str, Any], bytes]:
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _write(file: Path, header: Any, data: bytes) -> None:
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def header_bytes(folder: Path, random: Random) -> None:
    """Flip, cut or repeat bytes at the head of the weights."""
    data = bytearray((folder / WEIGHTS).read_bytes())
    length = int.from_bytes(data[:8], "little")
    for _ in range(random.choice((1, 1, 1, 4))):
        data[random.choice((random.randrange(8), random.randrange(8, 8 + length)))] = random.randrange(256)
    (folder / WEIGHTS).write_bytes(bytes(data))


def data_bytes(folder: Path, random: Random) -> None:
    """Other numbers, or fewer or more of them than the header says."""
    data = bytearray((folder / WEIGHTS).read_bytes())
    how = random.choice(("flip", "flip", "nan", "cut", "more", "huge"))
    at = len(data) - 4 * random.randrange(1, 4000)
    if how == "flip":
        data[at] ^= 1 << random.randrange(8)
    elif how in ("nan", "huge"):
        data[at : at + 4] = b"\xff\xff\xff\x7f" if how == "nan" else b"\x00\x00\x00\x7f"
    elif how == "cut":
        del data[-random.randrange(1, 999) :]
    else:
        data += bytes(random.randrange(1, 99))
    (folder / WEIGHTS).write_bytes(bytes(data))


def tensors(folder: Path, random: Random) -> None:
    """Rename, drop, double, reshape or retype a tensor in a header that stays sound."""
    header, data = _header(folder / WEIGHTS)
    names = [name for name in header if name != "__metadata__"]
    name, other = random.sample(names, 2)
    how = random.choice(("rename", "drop", "swap", "reshape", "retype", "zero", "metadata", "deep", "extra", "prefix"))
    entry = header[name]
    if how == "rename":
        header[random.choice((name + "x", name.replace(".0.", ".7."), name.removeprefix("model."), ""))] = header.pop(
            name
        )
    elif how == "drop":
        last = max(names, key=lambda n: header[n]["data_offsets"][1])
        data = data[: header.pop(last)["data_offsets"][0]]
    elif how == "swap":
        header[name], header[other] = header[other], header[name]
    elif how == "reshape":
        entry["shape"] = random.choice((entry["shape"][::-1], [1, *entry["shape"]], [10**9], [], "x", [-1], [2**62, 4]))
    elif how == "retype":
        entry["dtype"] = random.choice(("I32", "U32", "F16", "BF16", "F64", "I8", "F8_E4M3", "alien", None, 7))
    elif how == "zero":
        entry["data_offsets"] = random.choice(([0, 0], [-4, 0], [0, 2**62], ["a", "b"], [1], None, [4, 0]))
    elif how == "metadata":
        header["__metadata__"] = random.choice(
            ({"format": "tf"}, {"format": "pt", "x": "y"}, {}, None, 7, {"format": 1})
        )
    elif how == "deep":
        header[name] = random.choice(([], 7, {"dtype": "F32"}, {**entry, "more": [[[[]]]]}))
    else:
        new = {"extra": "model.extra.weight", "prefix": name.removeprefix("model.")}[how]
        header[new] = {"dtype": "F32", "shape": [4], "data_offsets": [len(data), len(data) + 16]}
        data += bytes(16)
    _write(folder / WEIGHTS, header, data)


def half(folder: Path, random: Random) -> None:
    """The same weights in another float type: sound."""
    import torch
    from safetensors.torch import load_file, save_file

    kind = random.choice((torch.float16, torch.bfloat16, torch.float64))
    found = {name: tensor.to(kind) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})


def config_value(folder: Path, random: Random) -> None:
    """Change, add or drop values of the configuration."""
    config = _json(folder / CONFIG)
    for _ in range(random.choice((1, 1, 2))):
        key = random.choice(sorted(config))
        how = random.random()
        if how < 0.15:
            del config[key]
        elif how < 0.6:
            config[key] = random.choice(VALUES if isinstance(config[key], int | float) else VALUES + ODD)
        else:
            key = random.choice(sorted(KNOWN))
            config[key] = random.choice(KNOWN[key])
        config = config or {"x": 1}
    (folder / CONFIG).write_text(json.dumps(config))


def json_bytes(folder: Path, random: Random) -> None:
    """Flip, cut or empty one of the JSON files."""
    file = folder / random.choice(sorted(path.name for path in folder.glob("*.json")))
    data = bytearray(file.read_bytes())
    how = random.choice(("flip", "flip", "cut", "empty", "list", "deep", "zeros"))
    if how == "flip":
        data[random.randrange(len(data))] = random.randrange(256)
    elif how == "cut":
        del data[random.randrange(len(data)) :]
    else:
        data = bytearray({"empty": b"", "list": b"[]", "deep": b"[" * 10**5, "zeros": bytes(99)}[how])
    file.write_bytes(bytes(data))


NORMALIZERS = (
    {"type": "Lowercase"},
    {"type": "NFC"},
    {"type": "Prepend", "prepend": "x" * 1000},
    {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 50},
    {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"},
    {"type": "Replace", "pattern": {"Regex": "("}, "content": "b"},
    {"type": "Replace", "pattern": {"String": ""}, "content": "bb"},
    {"type": "Alien"},
)


def tokenizer(folder: Path, random: Random) -> None:
    """Change the tokenizer's parts."""
    data = _json(folder / "tokenizer.json")
    how = random.choice(("normalizer", "drop", "vocab", "added", "odd", "merges", "id"))
    if how == "normalizer":
        data["normalizer"] = random.choice(NORMALIZERS)
    elif how == "drop":
        data.pop(random.choice(sorted(data)))
    elif how == "vocab":
        word = random.choice(sorted(data["model"]["vocab"]))
        data["model"]["vocab"][word] = random.choice((0, 299, 10**6, 2**40, -1, "x"))
    elif how == "added":
        token = {"content": random.choice(("new", "<new>", "", "a")), "special": random.random() < 0.5}
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        data["added_tokens"].append({"id": random.choice((259, 300, 10**6, 2**40)), **flags, **token})
    elif how == "odd":
        data[random.choice(sorted(data))] = random.choice(ODD)
    elif how == "merges":
        data["model"]["merges"] = random.choice(([], [["x", "y"]], "x", [["a"]]))
    else:
        random.choice(data["added_tokens"])["id"] = random.choice((0, 1, 500, 2**31))
    (folder / "tokenizer.json").write_text(json.dumps(data))


def tokenizer_config(folder: Path, random: Random) -> None:
    """Change the tokenizer's settings."""
    file = folder / "tokenizer_config.json"
    config = _json(file)
    key = random.choice(
        (*sorted(config), "vocab_file", "tokenizer_file", "chat_template", "added_tokens_decoder", "auto_map")
    )
    places: tuple[Any, ...] = (
        "../x.json",
        "/etc/passwd",
        {"7": {"content": "x"}},
        {"9999": "x"},
        "PreTrainedTokenizer",
        10**9,
    )
    config[key] = random.choice((*ODD, *places))
    if random.random() < 0.2:
        config["fast_tokenizer_files"] = random.choice((["tokenizer.4.0.json"], ["../tokenizer.4.0.json"], "x", [7]))
    file.write_text(json.dumps(config))


BLOWS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ 'a' * 10**12 }}",
    "{{ 'a' * 10**8 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ messages.__class__.__mro__ }}",
    "{% for",
    "{{ undefined.x.y }}",
    "{{ raise_exception('no') }}",
    "{% include '/etc/passwd' %}",
    "",
    "{{ messages | tojson }}",
    "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}",
)


def template(folder: Path, random: Random) -> None:
    """Another chat template, in one of the places where it may stand."""
    text = random.choice(BLOWS)
    place = random.choice(("chat_template.jinja", "additional_chat_templates/tool_use.jinja", "chat_template.json"))
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_text(json.dumps({"chat_template": text}) if place.endswith("json") else text)


EXTRA = (
    *("adapter_config.json", "adapter_model.safetensors", "x.safetensors", "model-00001-of-00002.safetensors", "x.py"),
    *(
        "pytorch_model.bin",
        "sub/model.safetensors",
        "sub/x.py",
        "added_tokens.json",
        "special_tokens_map.json",
        "vocab.json",
    ),
    *("merges.txt", "tokenizer.model", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
    *("shard-00001-model-00001-of-00001.safetensors", "README.md", "custom_generate/generate.py", "x.pkl"),
    *("tokenizer.4.0.json", "consolidated.safetensors", "model.fp16.safetensors", ".hidden", "quantize_config.json"),
)


def extra(folder: Path, random: Random) -> None:
    """A file more, sound or not."""
    file = folder / random.choice(EXTRA)
    file.parent.mkdir(exist_ok=True)
    texts = ("", "{}", '{"peft_type": "LORA"}', '{"<new>": 300}', '{"eos_token_id": [1, 2]}', "x", '{"a": "b"}')
    file.write_bytes(random.choice(((folder / WEIGHTS).read_bytes(), *(text.encode() for text in texts))))


def links(folder: Path, random: Random) -> None:
    """A link, a pipe, a device or a folder in place of a file."""
    file = folder / random.choice((*sorted(path.name for path in folder.iterdir()), "more.json", "more"))
    kept = folder.with_name("elsewhere")
    if file.exists():
        shutil.move(file, kept)
    how = random.choice(("link", "link", "gone", "device", "pipe", "folder", "itself", "circle"))
    if how == "link" and kept.exists():
        file.symlink_to(kept)
    elif how == "pipe":
        os.mkfifo(file)
    elif how == "folder":
        file.mkdir()
    else:
        target = {"device": "/dev/zero", "itself": str(file), "circle": str(folder)}
        file.symlink_to(target.get(how, "/gone"))


def index(folder: Path, random: Random) -> None:
    """Shards with an index, which is sound or not."""
    header, data = _header(folder / WEIGHTS)
    header.pop("__metadata__", None)
    names = sorted(header, key=lambda name: header[name]["data_offsets"])
    cut = random.randrange(1, len(names))
    middle = header[names[cut]]["data_offsets"][0]
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for file, part, start, stop in ((files[0], names[:cut], 0, middle), (files[1], names[cut:], middle, len(data))):
        moved = {n: {**header[n], "data_offsets": [o - start for o in header[n]["data_offsets"]]} for n in part}
        _write(folder / file, {"__metadata__": {"format": "pt"}, **moved}, data[start:stop])
    places: dict[str, Any] = {name: files[names.index(name) >= cut] for name in names}
    found: Any = {"metadata": {"total_size": len(data)}, "weight_map": places}
    how = random.choice(("sound", "sound", "both", "outside", "missing", "odd", "no metadata", "wrong"))
    if how == "outside":
        places[names[0]] = random.choice(
            ("../x.safetensors", "sub/x.safetensors", str(folder / files[0]), "a\\b.safetensors")
        )
    elif how == "missing":
        (folder / random.choice(files)).unlink()
    elif how == "odd":
        found["weight_map"] = random.choice((None, {}, [], {names[0]: 7}, {names[0]: files[0]}, "x"))
    elif how == "no metadata":
        del found["metadata"]
    elif how == "wrong":
        places[names[0]], places[names[-1]] = places[names[-1]], places[names[0]]
    if how != "both":
        (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps(found))


def nothing(folder: Path, random: Random) -> None:
    """As it was: such a folder loads."""


MUTATIONS: dict[str, Callable[[Path, Random], None]] = {
    function.__name__: function
    for function in (
        *(header_bytes, data_bytes, tensors, half, config_value, config_value, config_value, json_bytes, tokenizer),
        *(tokenizer_config, template, extra, links, index, nothing),
    )
}

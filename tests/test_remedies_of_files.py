"""Advice about files that a run is given (data, prompts, models) is followed here to the letter, and helps.

Rows of data are in `dpo_core/data/test_remedies.py`, recipes and commands in `test_remedies.py`.
"""

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_core.data.readers import read_pairs
from dpo_core.errors import InputError
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.model.load import load_model
from dpo_core.quality.prompts.index import read_prompts
from infra.errors import InfraError
from infra.models import fetch_model
from tasks.runtime.models import require_usable
from tests.tiny import build_tiny_model

ROW = {"prompt": "Where is the sea?", "chosen": "Down the hill.", "rejected": "Up in the air."}
LINE = json.dumps(ROW) + "\n"

Spoil = Callable[[Path], str | None]  # makes the folder's fault; the name of the file, if it is not p.jsonl
Mend = Callable[[Path, str], str | None]  # does what the advice says; likewise


def write(name: str, content: str | bytes) -> Spoil:
    data = content.encode() if isinstance(content, str) else content
    return lambda place: ((place / name).write_bytes(data) and None) or name


def then(name: str, content: str | bytes) -> Mend:
    return lambda place, do: write(name, content)(place)


def mended_columns(place: Path, do: str) -> str:
    pq.write_table(pa.table({name: [text] for name, text in ROW.items()}), place / "p.parquet")
    return "p.parquet"


def columns(names: list[str], values: list[object]) -> Spoil:
    def spoil(place: Path) -> str:
        pq.write_table(pa.Table.from_arrays([pa.array([value]) for value in values], names), place / "p.parquet")
        return "p.parquet"

    return spoil


def sums(line: str) -> Spoil:
    def spoil(place: Path) -> None:
        (place / "p.jsonl").write_text(LINE)
        (place / "SHA256SUMS").write_text(line)

    return spoil


def own_suffix(place: Path, do: str) -> str:
    return str((place / "p.jsonl").rename(place / "p.jsonl.gz").name)


def sums_by_command(place: Path, do: str) -> None:
    command = "sha256sum p.jsonl" if "`sha256sum p.jsonl`" in do else "sha256sum p.jsonl > SHA256SUMS"
    said = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True, check=True).stdout
    if said:  # and correct SHA256SUMS
        (place / "SHA256SUMS").write_text(said)


def without_sums(place: Path, do: str) -> None:
    (place / "SHA256SUMS").unlink()


PACKED = gzip.compress(LINE.encode(), mtime=0)
DATA: dict[str, tuple[Spoil, str, Mend]] = {
    "no such file": (lambda place: None, "check the path", then("p.jsonl", LINE)),
    "no file of a pattern": (lambda place: "q*.jsonl", "check the pattern", then("q1.jsonl", LINE)),
    "empty": (write("p.jsonl", ""), "check the export", then("p.jsonl", LINE)),
    "blank": (write("p.jsonl", "\n\n"), "check the export", then("p.jsonl", LINE)),
    "a folder without pairs": (
        lambda place: write("notes.txt", "-")(place) and ".",
        ".jsonl",
        lambda place, do: write("p.jsonl", LINE)(place) and ".",
    ),
    "gzip that is cut": (write("p.jsonl.gz", PACKED[:-9]), "copy it again", then("p.jsonl.gz", PACKED)),
    "gzip that is none": (write("p.jsonl.gz", LINE), "compress it again", then("p.jsonl.gz", PACKED)),
    "gzip without its suffix": (write("p.jsonl", PACKED), "give it its own suffix", own_suffix),
    "gzip without its suffix, unpacked": (write("p.jsonl", PACKED), "unpack it", then("p.jsonl", LINE)),
    "packed twice": (
        write("p.jsonl.gz", gzip.compress(PACKED, mtime=0)),
        "unpack it",
        lambda place, do: then("p.jsonl.gz", gzip.decompress((place / "p.jsonl.gz").read_bytes()))(place, do),
    ),
    "more after an array": (write("p.json", f"[{LINE}] x"), "write one array", then("p.json", f"[{LINE}]")),
    "other bytes than promised": (sums(f"{'0' * 64}  p.jsonl\n"), "run `sha256sum p.jsonl`", sums_by_command),
    "promises that are none": (sums("p.jsonl\n"), "write it with `sha256sum FILE... > SHA256SUMS`", sums_by_command),
    "promises that are none, removed": (sums("p.jsonl\n"), "or remove it", without_sums),
    "two columns of a name": (
        columns([*ROW, "chosen"], [*ROW.values(), "again"]), "rename one of them", mended_columns
    ),
    "a column of bytes": (
        columns(list(ROW), [ROW["prompt"], ROW["chosen"], b"\xff"]), "write it as text", mended_columns
    ),
    "no Parquet": (write("p.parquet", LINE), "write it again", mended_columns),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "says", "mend"), DATA.values(), ids=DATA)
def test_data_are_read_once_the_advice_is_followed(tmp_path, spoil, says, mend):
    name = spoil(tmp_path) or "p.jsonl"
    with pytest.raises(InputError) as caught:
        read_pairs(f"{tmp_path}/{name}")
    assert says in caught.value.do
    name = mend(tmp_path, caught.value.do) or name
    (pair,) = read_pairs(f"{tmp_path}/{name}").pairs
    assert pair.chosen[0]["content"] == ROW["chosen"]


CHECK = {"prompt": "Who?", "must_contain": ["Athene"]}
PROMPTS: dict[str, tuple[Callable[[str], object], str | bytes | None, str, str | bytes]] = {
    "no file of questions": (read_checks, None, "check evaluation.behaviour", json.dumps(CHECK)),
    "an empty one": (read_checks, "\n", "add at least one line", json.dumps(CHECK)),
    "in UTF-16": (read_checks, json.dumps(CHECK).encode("utf-16"), "save it as UTF-8", json.dumps(CHECK)),
    "a misspelt key": (
        read_checks,
        json.dumps({"prompt": "Who?", "must_contains": ["Athene"]}),
        "did you mean 'must_contain'?",
        json.dumps(CHECK),
    ),
    "a line of text": (read_checks, "Who?", 'a line is {"prompt": "..." or messages', json.dumps(CHECK)),
    "no word": (read_checks, '{"prompt": "Who?"}', '"must_contain": [...]', json.dumps(CHECK)),
    "a benchmark's rows": (read_prompts, '{"text": "Who?"}', 'one {"prompt": ...} a line', '{"prompt": "Who?"}'),
    "a benchmark in plain text": (read_prompts, "\n", "plain text with one prompt a line", "Who?\nWhere?"),
    "a benchmark in UTF-16": (read_prompts, "Who?".encode("utf-16"), "save the file as UTF-8", "Who?"),
    "no benchmark": (read_prompts, None, "check the path", "Who?"),
}  # fmt: skip


@pytest.mark.parametrize(("read", "content", "says", "mended"), PROMPTS.values(), ids=PROMPTS)
def test_prompt_files_are_read_once_the_advice_is_followed(tmp_path, read, content, says, mended):
    path = tmp_path / "prompts"
    if content is not None:
        write(path.name, content)(tmp_path)
    with pytest.raises(InputError) as caught:
        read(str(path))
    assert says in caught.value.do
    write(path.name, mended)(tmp_path)
    assert read(str(path))


def merge(name: str, **values: object) -> Callable[[Path], None]:
    """Set keys of a JSON file of the folder; None takes one out."""

    def change(folder: Path) -> None:
        held = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        held = {key: value for key, value in (held | values).items() if value is not None}
        (folder / name).write_text(json.dumps(held))

    return change


def does(*changes: Callable[[Path], object]) -> Callable[[Path, str], None]:
    def all_of_them(folder: Path, do: str) -> None:
        for change in changes:
            change(folder)

    return all_of_them


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def put(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def whole_index(folder: Path) -> None:
    names = dict.fromkeys(load_file(folder / "model.safetensors"), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def sharded(folder: Path) -> None:
    """Two files and an index, of which one file did not come along."""
    tensors = load_file(folder / "model.safetensors")
    first = sorted(tensors)[0]
    weights = {name: "a.safetensors" if name == first else "b.safetensors" for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    rest = {name: tensor for name, tensor in tensors.items() if name != first}
    save_file(rest, folder / "b.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()


def shard_elsewhere(folder: Path) -> None:
    """An index and its weights, which lie in a folder of their own."""
    names = dict.fromkeys(load_file(folder / "model.safetensors"), "parts/a.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (folder / "parts").mkdir()
    (folder / "model.safetensors").rename(folder / "parts" / "a.safetensors")


def bare_index(folder: Path) -> None:
    names = dict.fromkeys(load_file(folder / "model.safetensors"), "a.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))
    (folder / "model.safetensors").rename(folder / "a.safetensors")


def shard_here(folder: Path) -> None:
    (folder / "parts" / "a.safetensors").rename(folder / "a.safetensors")
    (folder / INDEX).write_text((folder / INDEX).read_text().replace("parts/", ""))


def fetched_again(folder: Path) -> None:
    shutil.rmtree(folder)
    build_tiny_model(folder)


def stray(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "ema.safetensors")


def other_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    head = torch.zeros_like(tensors["model.embed_tokens.weight"])
    save_file(tensors | {"lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})


def more_tokens(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["Athene"])
    tokenizer.save_pretrained(folder)


def resized(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)))
    model.save_pretrained(folder)


def saved_again(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    model.save_pretrained(folder)


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def own_tokenizer(folder: Path) -> None:
    AutoTokenizer.from_pretrained(build_tiny_model(folder.with_name("published"))).save_pretrained(folder)


def unpickled(folder: Path) -> None:
    saved_again(folder)
    (folder / "pytorch_model.bin").unlink()


def dangling(folder: Path) -> None:
    (folder / "notes.md").symlink_to(folder / "nowhere")


CONFIG, INDEX, ENDS = "config.json", "model.safetensors.index.json", "generation_config.json"
MODELS: dict[str, tuple[Callable[[Path], object], str, Callable[[Path, str], None]]] = {
    "weights as pickle alone": (pickled, "name a folder that save_pretrained wrote", does(unpickled)),
    "pickles beside": (put("training_args.bin", "x"), "remove it", does(gone("training_args.bin"))),
    "a file and an index": (whole_index, "remove the one that is not", does(gone(INDEX))),
    "a shard that did not come": (sharded, "fetch the model again as a whole", does(fetched_again)),
    "an index into another folder": (shard_elsewhere, "into the folder and name it alone", does(shard_here)),
    "an index without metadata": (bare_index, 'write "metadata": {}', does(merge(INDEX, metadata={}))),
    "weights beside weights": (stray, "move it out of the folder", does(gone("ema.safetensors"))),
    "an adapter beside weights": (
        put("adapter_config.json", "{}"),
        "remove adapter_config.json to start from the weights as they are",
        does(gone("adapter_config.json")),
    ),
    "weights of another place": (
        merge(CONFIG, transformers_weights="b.safetensors"),
        "take transformers_weights out of config.json",
        does(merge(CONFIG, transformers_weights=None)),
    ),
    "quantised": (
        merge(CONFIG, quantization_config={"quant_method": "bitsandbytes"}),
        "name the model in full precision",
        does(fetched_again),
    ),
    "a link that leads nowhere": (dangling, "remove it", does(gone("notes.md"))),
    "another model's configuration": (
        merge(CONFIG, num_hidden_layers=100_000_000),
        "take the config.json that belongs to these weights",
        does(merge(CONFIG, num_hidden_layers=2)),
    ),
    "a configuration that is no JSON": (put(CONFIG, "{"), "save the model again", does(fetched_again)),
    "a tied head that differs": (
        other_head,
        "set tie_word_embeddings to false in config.json",
        does(merge(CONFIG, tie_word_embeddings=False)),
    ),
    "no end of turn": (
        merge("tokenizer_config.json", eos_token=None),
        "set eos_token in tokenizer_config.json",
        does(merge("tokenizer_config.json", eos_token="<|im_end|>")),
    ),
    "no tokenizer": (
        lambda folder: [file.unlink() for file in folder.glob("tokenizer*")],
        "save the model's tokenizer beside its weights",
        does(own_tokenizer),
    ),
    "more tokens than rows": (more_tokens, "resize the embeddings (model.resize_token_embeddings)", does(resized)),
    "an end that is no number": (
        merge(ENDS, eos_token_id="<|im_end|>"),
        "write the number of the token",
        does(merge(ENDS, eos_token_id=2)),
    ),
}  # fmt: skip


def taken(folder: Path) -> None:
    require_usable(fetch_model(str(folder), folder.parent))
    load_model(folder)


@pytest.mark.parametrize(("spoil", "says", "mend"), MODELS.values(), ids=MODELS)
def test_a_model_folder_is_taken_once_the_advice_is_followed(tmp_path, spoil, says, mend):
    folder = build_tiny_model(tmp_path / "model")
    spoil(folder)
    with pytest.raises((InputError, InfraError)) as caught:
        taken(folder)
    assert says in caught.value.do
    mend(folder, caught.value.do)
    taken(folder)


def test_a_weight_file_named_as_the_model_is_told_to_name_its_folder(tmp_path):
    folder = build_tiny_model(tmp_path / "model")
    with pytest.raises(InfraError) as caught:
        fetch_model(str(folder / "model.safetensors"), tmp_path)
    assert caught.value.do == "name the folder that holds the model"
    taken(folder)


def test_names_of_the_registry_that_the_advice_gives_are_names(tmp_path):
    from infra.registry.versions import parse

    with pytest.raises(InfraError) as caught:
        fetch_model("models:/athene", tmp_path)
    forms = re.fullmatch(r"write (\S+) or (\S+)", caught.value.do)
    assert forms
    assert parse(forms[1].replace("NAME", "athene").replace("ALIAS", "champion")) == ("athene", "champion")
    assert parse(forms[2].replace("NAME", "athene").replace("VERSION", "3")) == ("athene", 3)

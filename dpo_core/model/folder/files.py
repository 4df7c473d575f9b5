"""Which files a model folder's weights are, and what else may lie beside them: what is loaded is what is digested."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import InputError
from dpo_core.model.folder.headers import TensorHeader, quantised, read_headers, require_floats
from dpo_core.model.remote_code import require_no_other_code

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CONFIG_BYTES = 2**24  # of a JSON file that is no vocabulary
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
_COUNT = re.compile(r"(^|_)(num|n)_\w*(layer|block|expert|stage|codebook|label)s?$|(^|_)depth$")
_AXIS = re.compile(r"^(hidden_size|intermediate_size|vocab_size|n_embd|d_model|n_inner|n_head|ffn_dim)$|_dim$|heads$")
FEW = 2**10  # layers that are built in a moment
MANY = 2**16  # experts or rows that cost nothing to build


def require_model_folder(folder: Path, trusted: str | None = None) -> dict[str, TensorHeader]:
    """The tensors of a model folder, by name. Raises InputError unless everything in it is sound and accounted for.

    Nothing is built and nothing is run: code of the model's own must have the digest `trusted`.
    """
    if not folder.is_dir():
        raise InputError("there is no such model folder", where=str(folder), do="check the recipe's model")
    require_regular_files(folder)
    require_no_other_code(folder, trusted)
    if not (folder / "config.json").is_file():
        do = "point to a save_pretrained folder"
        raise InputError("the model folder has no config.json", where=str(folder), do=do)
    config = read_json(folder / "config.json")
    _require_plain(folder / "config.json", config)
    files = weight_files(folder)
    _require_no_adapter(folder)
    tensors: dict[str, TensorHeader] = {}
    for file in files:
        headers = read_headers(file)
        require_floats(file, headers)
        if twice := sorted(tensors.keys() & headers.keys()):
            do = "save the model again with save_pretrained"
            raise InputError(f"{named(twice)} stands in two weight files", where=str(file), do=do)
        tensors |= headers
    _require_sizes(folder / "config.json", config, tensors)
    return tensors


def require_regular_files(folder: Path) -> None:
    """Raise InputError for anything in the folder that is neither a folder nor leads to a regular file."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() and not path.is_dir():
            kind = "a link that leads nowhere" if path.is_symlink() and not path.exists() else "no regular file"
            do = "remove it, or put the file in its place"
            raise InputError(f"{path.name} in the model folder is {kind}", where=str(path), do=do)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that a folder's weights are: the one file, or those that the index names.

    Raises InputError where that is not certain: both, neither, files beside them, names that leave the folder.
    """
    there = {path.name for path in folder.glob("*.safetensors")} - {ADAPTER_WEIGHTS}
    single, index = folder / SINGLE, folder / INDEX
    if single.exists() and index.exists():
        raise InputError(
            f"the model folder has both {SINGLE} and {INDEX}: only one of them is the model",
            where=str(folder),
            do="remove the one that is not",
        )
    if not there and not index.exists():
        do = "save the model with save_pretrained; pickled .bin files are not read"
        raise InputError("the model folder has no weights (*.safetensors)", where=str(folder), do=do)
    names = _named_by(index) if index.exists() else {SINGLE}
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        by = f"{INDEX} names" if index.exists() else f"there is no {INDEX}, and"
        do = "fetch the model again as a whole, or save it with save_pretrained"
        raise InputError(f"{by} {named(missing)}, which is not in the folder", where=str(folder), do=do)
    if more := sorted(there - names):
        says = f"{named(more)} lies beside the weights and is not part of them: {_source(index)}"
        raise InputError(says, where=str(folder), do="move it out of the folder, if the other weights are meant")
    return [folder / name for name in sorted(names)]


def read_json(file: Path) -> dict[str, object]:
    """The object in a JSON file of a model folder. Raises InputError."""
    do = "save the model again with save_pretrained"
    if file.stat().st_size > CONFIG_BYTES:
        raise InputError(f"{file.name} has more than {CONFIG_BYTES >> 20} MiB", where=str(file), do=do)
    try:
        found = json.loads(file.read_text(encoding="utf-8"), parse_constant=str)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{file.name} is no JSON object", where=str(file), do=do)
    return found


def named(names: list[str]) -> str:
    """Some names in a message: the first three, and how many more."""
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")


def _named_by(index: Path) -> set[str]:
    found = read_json(index)
    entries = found.get("weight_map")
    do = "save the model again with save_pretrained"
    if not isinstance(entries, dict) or not entries or not all(isinstance(name, str) for name in entries.values()):
        raise InputError(f"{index.name} names no weight files (weight_map)", where=str(index), do=do)
    for name in sorted(set(entries.values())):
        if not name.endswith(".safetensors") or Path(name).name != name or "\\" in name:
            says = f"{index.name} names {name!r}, which is no safetensors file of this folder"
            raise InputError(says, where=str(index), do="put the file into the folder and name it alone")
    if not isinstance(found.get("metadata"), dict):  # transformers reads it, and stops without
        do = f'write "metadata": {{}} beside "weight_map" in {index.name}'
        raise InputError(f"{index.name} has no metadata", where=str(index), do=do)
    return set(entries.values())


def _source(index: Path) -> str:
    return f"{INDEX} does not name it" if index.exists() else f"they are in {SINGLE}"


def _require_no_adapter(folder: Path) -> None:
    beside = [name for name in (ADAPTER, ADAPTER_WEIGHTS) if (folder / name).exists()]
    if beside:
        raise InputError(
            f"the model folder holds whole weights and an adapter ({' and '.join(beside)}): they may be merged already",
            where=str(folder),
            do=f"remove {' and '.join(beside)} to start from the weights as they are; or move them to a folder of "
            f"their own and name that, to have the adapter merged into the base that its {ADAPTER} names",
        )


def _values(config: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Key and value of everything in a configuration, nested ones too."""
    waiting: list[object] = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part.items()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _require_plain(file: Path, config: dict[str, object]) -> None:
    """Raise InputError where a configuration asks for other files, other code or quantised weights."""
    for key, value in _values(config):
        if key in ("quantization_config", "compression_config") and value is not None:
            method = value.get("quant_method") if isinstance(value, dict) else None
            raise quantised(f"{key}: {method or 'set'}", file)
        if key == "transformers_weights" and value is not None:
            do = f"take transformers_weights out of config.json; weights are read from {SINGLE} or what {INDEX} names"
            raise InputError(f"config.json names other weights: {value}", where=str(file), do=do)
        if key.endswith(("attn_implementation", "experts_implementation")) and "/" in json.dumps(value):
            says = f"config.json asks for code of another place ({key}: {value})"
            raise InputError(says, where=str(file), do=f"take {key} out of config.json")


def _require_sizes(file: Path, config: dict[str, object], tensors: dict[str, TensorHeader]) -> None:
    """Raise InputError where numbers of a configuration cannot belong to these tensors: building it might never end."""
    axis = max((length for header in tensors.values() for length in header.shape), default=0)
    for key, value in _values(config):
        if type(value) is not int:
            continue
        limit = max(FEW, len(tensors)) if key in _LAYERS else max(MANY, axis) if _AXIS.search(key) else MANY
        if value > limit and (key in _LAYERS or _COUNT.search(key) or _AXIS.search(key)):
            raise InputError(
                f"config.json says {key}: {value}, the weights have {len(tensors)} tensors, none longer than {axis}",
                where=str(file),
                do="take the config.json that belongs to these weights",
            )

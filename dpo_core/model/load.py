"""A model folder: load it, or convert a GGUF file into one."""

import contextlib
import copy
import functools
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from dpo_core.errors import InputError
from dpo_core.model.folder.files import named, require_model_folder
from dpo_core.model.folder.sizes import require_all_used, require_fit, unloadable
from dpo_core.model.stops import named_ends

_DROPOUT = re.compile(r"dropout|drop_?path|layerdrop|_pdrop|^(input_)?jitter_noise$")


def load_model(folder: str | Path, *, trusted_code: str | None = None) -> PreTrainedModel:
    """A causal language model in fp32, dropout off, from safetensors only. Raises InputError.

    Every parameter comes from a file of the folder, or is tied to one that does, and every tensor of the files is
    used. Code of the model's own runs only if `trusted_code` is its digest. Of the folder's generation config the model
    has the ends alone: how it is decoded is decided in `answers/decoding.py`.
    """
    folder = Path(folder)
    tensors = require_model_folder(folder, trusted_code)
    expected = require_fit(folder, tensors, trusted_code)
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
    options["trust_remote_code"] = trusted_code is not None
    options["generation_config"] = GenerationConfig(eos_token_id=named_ends(folder) or None)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(str(folder), output_loading_info=True, **options)
    except Exception as error:
        raise unloadable(folder, error) from None
    model: PreTrainedModel = loaded[0]
    require_all_used(folder, loaded[1])
    _require_ties(folder, expected, model)
    require_finite(folder, model)
    without_dropout(model)
    model.eval()
    return model


def without_dropout(model: PreTrainedModel) -> None:
    """Turn every dropout off: modules, rates that modules keep, and rates that they read from the configuration."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _set_zero(vars(module))
    waiting: list[Any] = [model.config]
    while waiting:
        values = vars(waiting.pop())
        _set_zero(values)
        waiting += [value for value in values.values() if isinstance(value, PreTrainedConfig)]


def _set_zero(values: dict[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, float) and _DROPOUT.search(name):
            values[name] = 0.0


def _require_ties(folder: Path, expected: PreTrainedModel, model: PreTrainedModel) -> None:
    """Raise InputError where the configuration ties two weights and the files hold two different ones."""
    if loose := sorted(set(expected.all_tied_weights_keys) - set(model.all_tied_weights_keys)):
        says = f"config.json ties {named(loose)} to the embeddings, and the files hold other numbers for it"
        do = "set tie_word_embeddings to false in config.json, or remove the tensor that is not meant"
        raise InputError(says, where=str(folder / "config.json"), do=do)


def require_finite(folder: Path, model: PreTrainedModel) -> None:
    """Raise InputError for a model with numbers that are none."""
    bad = [name for name, tensor in model.named_parameters() if not _is_finite(tensor)]
    if bad:
        says = f"{len(bad)} tensors of the model hold NaN or infinite numbers ({named(bad)})"
        raise InputError(says, where=str(folder), do="take an earlier checkpoint of the model: this one has diverged")


def _is_finite(tensor: torch.Tensor) -> bool:
    if tensor.numel() == 0:
        return True
    least, most = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(least) and torch.isfinite(most))


def convert_gguf(file: Path, folder: Path) -> Path:
    """Dequantise a GGUF file to an ordinary fp32 model folder (weights, config, tokenizer). Done once."""
    if (folder / "model.safetensors").is_file():
        return folder
    require_gguf(file)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    transformers_logging.disable_progress_bar()
    try:
        with _reading_once():
            _require_positions(file)
            _convert(file, partial)
    except InputError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        says = f"the GGUF file cannot be converted: {type(error).__name__}: {first}"
        do = "fetch the file again, or name the folder of the model that it was made from"
        raise InputError(says, where=str(file), do=do) from None
    partial.rename(folder)
    return folder


@contextlib.contextmanager
def _reading_once() -> Iterator[None]:
    """Transformers has a file parsed once for each of its parts, and a map of all names made once a module."""
    import gguf

    class Reader(gguf.GGUFReader):
        """Of a memory map each of some 150,000 strings would be a map of its own; of a plain array it is a view."""

        @property  # type: ignore[override]  # a plain array has all that is asked of it
        def data(self) -> NDArray[np.uint8]:
            return self._plain

        @data.setter
        def data(self, mapped: NDArray[np.uint8]) -> None:
            self._plain = np.asarray(mapped)

    asked = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, function in {**asked, "GGUFReader": Reader}.items():
        setattr(gguf, name, functools.cache(function))
    try:
        yield
    finally:
        for name, function in asked.items():
            setattr(gguf, name, function)


def _require_positions(file: Path) -> None:
    """Raise InputError where the file scales its positions (RoPE) in a way that transformers does not read."""
    import gguf

    reader = gguf.GGUFReader(str(file))
    fields = {name.partition(".rope.")[2]: field for name, field in reader.fields.items() if ".rope.scal" in name}
    values = {name: field.contents() for name, field in fields.items()}
    kind = values.get("scaling.type", "linear")
    factor = values.get("scaling.factor", values.get("scale_linear", 1.0))
    tables = [tensor.name for tensor in reader.tensors if tensor.name.startswith(("rope_freqs", "rope_factors"))]
    scaled = [f"{kind}, factor {factor:g}"] if kind != "none" and factor not in (0.0, 1.0) else []
    if not tables and not scaled:
        return
    config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    given = getattr(config, "rope_parameters", None) or {}
    ropes = [given, *(value for value in given.values() if isinstance(value, dict))]  # one for each kind of layer
    read = {rope.get("rope_type", "default"): rope.get("factor", 1.0) for rope in ropes}
    other = bool(scaled) and not math.isclose(read.get(kind, 1.0), factor, rel_tol=1e-6)
    if other or (tables and set(read) == {"default"}):
        says = f"the file scales its positions ({named([*tables, *scaled])}), and transformers does not read that"
        do = "name the folder or the HF id of the model that the file was made from"
        raise InputError(says, where=str(file), do=do)


def _convert(file: Path, partial: Path) -> None:
    source: dict[str, Any] = {"gguf_file": file.name}
    options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    loaded: Any = AutoModelForCausalLM.from_pretrained(str(file.parent), **options, **source)
    quantized, info = loaded
    require_all_used(file, info)
    config = copy.deepcopy(quantized.config)
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **source)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)


def require_gguf(file: Path) -> None:
    """Raise InputError where the counts of a GGUF file's header cannot be true of its size."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(24)
    version, tensors, values = (int.from_bytes(head[at:end], "little") for at, end in ((4, 8), (8, 16), (16, 24)))
    # an entry has at least a name's length, a type and one more number: 24 bytes a tensor, 13 a value
    if len(head) < 24 or head[:4] != b"GGUF" or version not in (2, 3) or 24 + 24 * tensors + 13 * values > size:
        says = f"this is no sound GGUF file (version {version}, {tensors} tensors, {values} values, {size} bytes)"
        raise InputError(says, where=str(file), do="fetch the file again: it is cut off or damaged")

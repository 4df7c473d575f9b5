"""Whether a configuration and the tensors of the files are one model: built without memory, every name compared."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers import __version__ as transformers_version
from transformers.initialization import no_init_weights
from transformers.utils import logging as transformers_logging

from dpo_core.errors import InputError
from dpo_core.memory import usable_memory
from dpo_core.model.folder.files import named
from dpo_core.model.folder.headers import NO_WEIGHT, TensorHeader

META = torch.device("meta")
SAVE = "save the model again with save_pretrained, or take the config.json that belongs to these weights"


def require_fit(folder: Path, tensors: Mapping[str, TensorHeader], trusted: str | None = None) -> PreTrainedModel:
    """The model of a folder on the meta device, where every parameter has a tensor and every tensor a parameter.

    transformers' own loading decides which tensor goes where (renamed, fused, tied), on tensors without memory. Raises
    InputError for a difference, for a model type that is not known, and for one that has no room on this machine.
    """
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=trusted is not None, local_files_only=True)
        kind = _class(config, trusted)
        with no_init_weights(), META:
            _require_room(folder, kind(config))
        state = {name: torch.empty(t.shape, device="meta", dtype=torch.float32) for name, t in tensors.items()}
        options: dict[str, Any] = {"device_map": {"": META}, "dtype": torch.float32, "output_loading_info": True}
        options |= {"config": config, "state_dict": state, "ignore_mismatched_sizes": True}
        with quiet():
            built: Any = kind.from_pretrained(None, **options)
    except InputError:
        raise
    except Exception as error:
        raise unloadable(folder, error) from None
    model: PreTrainedModel = built[0]
    require_all_used(folder, built[1])
    _require_one_each(folder, tensors, model.base_model_prefix)
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars, and no table of the differences: they are an error here."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def require_all_used(folder: Path, info: Mapping[str, Any]) -> None:
    """Raise InputError where loading left a parameter to chance, a tensor unused, or met another shape."""
    missing = sorted(info["missing_keys"])
    unused = sorted(name for name in info["unexpected_keys"] if not NO_WEIGHT.search(name))
    shapes = [f"{name} is {list(file)} in the files and {list(model)} in the model" for name, file, model in
              sorted(info["mismatched_keys"], key=str)]  # fmt: skip
    faults = [
        *([f"{len(missing)} parameters come from no file ({named(missing)})"] if missing else []),
        *([f"{len(unused)} tensors of the files are not used ({named(unused)})"] if unused else []),
        *([f"{len(shapes)} shapes differ ({'; '.join(shapes[:2])})"] if shapes else []),
        *([str(info["error_msgs"][0])] if info["error_msgs"] else []),
    ]
    if faults:
        says = f"config.json and the weights are not one model: {'; '.join(faults)}"
        raise InputError(says, where=str(folder), do=SAVE)


def unloadable(folder: Path, error: Exception) -> InputError:
    """The error for a folder that transformers cannot make a model of."""
    first = (str(error).splitlines() or [""])[0]
    if "does not recognize this architecture" in str(error) or "Unrecognized model" in str(error):
        says = f"transformers {transformers_version} does not know this type of model: {first}"
        return InputError(says, where=str(folder / "config.json"), do="take a model of a type that it knows")
    return InputError(f"the model cannot be loaded: {type(error).__name__}: {first}", where=str(folder), do=SAVE)


def _class(config: PreTrainedConfig, trusted: str | None) -> type[PreTrainedModel]:
    if trusted is not None:
        with no_init_weights(), META:
            own: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
        return type(own)
    known = AutoModelForCausalLM._model_mapping
    if type(config) not in known:
        raise InputError(
            f"a model of type {config.model_type} is no causal language model",
            where=str(config.name_or_path),
            do="take a model that continues text",
        )
    kind: Any = known[type(config)]
    found: type[PreTrainedModel] = kind[0] if isinstance(kind, tuple | list) else kind
    return found


def _require_room(folder: Path, model: PreTrainedModel) -> None:
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    needed = sum(4 * math.prod(tensor.shape) for tensor in tensors.values())
    there = usable_memory().total + psutil.swap_memory().total
    if needed > there:
        says = f"the model needs {needed / 2**30:.1f} GiB in fp32, this machine or container has {there / 2**30:.1f}"
        raise InputError(says, where=str(folder), do="take a smaller model, or a larger machine")


def _require_one_each(folder: Path, tensors: Mapping[str, TensorHeader], prefix: str) -> None:
    """Raise InputError for two tensors that are one parameter, with and without the decoder's prefix."""
    twice = sorted(name for name in tensors if f"{prefix}.{name}" in tensors)
    if twice:
        says = f"the files hold {named(twice)} with and without {prefix!r} before it: one of the two is not used"
        raise InputError(says, where=str(folder), do=SAVE)

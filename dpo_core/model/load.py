"""A model folder: load it, or convert a GGUF file into one."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from dpo_core.errors import InputError
from dpo_core.model.identity import require_weights
from dpo_core.model.stops import named_ends


def load_model(folder: str | Path, *, trusted_code: str | None = None) -> PreTrainedModel:
    """A causal language model in fp32, dropout off, from safetensors only. Raises InputError.

    Code of the model's own runs only if `trusted_code` is its digest. Of the folder's generation config the model has
    the ends alone: how it is decoded is decided in `generate.py`.
    """
    folder = Path(folder)
    require_weights(folder, trusted_code)
    options = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": trusted_code is not None}
    options["generation_config"] = GenerationConfig(eos_token_id=named_ends(folder) or None)
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the model cannot be loaded: {str(error).splitlines()[0]}",
            where=str(folder),
            do="save it again with save_pretrained",
        ) from None
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loaded: PreTrainedModel = model.eval()
    return loaded


def convert_gguf(file: Path, folder: Path) -> Path:
    """Dequantise a GGUF file to an ordinary fp32 model folder (weights, config, tokenizer). Done once."""
    if (folder / "model.safetensors").is_file():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    transformers_logging.disable_progress_bar()
    source: dict[str, Any] = {"gguf_file": file.name}
    quantized = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **source)
    config = AutoConfig.from_pretrained(str(file.parent), **source)
    config.quantization_config = None
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **source)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder

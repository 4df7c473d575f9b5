"""The model in training: which weights move, and how it is written out."""

import json
import shutil
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedModel

from dpo_core.errors import InputError
from dpo_core.model.adapter import adapters_of_ties
from dpo_core.model.folder.files import named
from dpo_core.model.logprobs import decoder_of
from dpo_core.model.stops import GENERATION, generation_values
from dpo_core.recipe import Lora, Training
from dpo_core.train.checkpoint import brought

WEIGHTS = (".safetensors", ".gguf", ".h5", ".msgpack", ".onnx")  # of the base: others load them by these names


def make_policy(model: PreTrainedModel, training: Training, *, seed: int) -> torch.nn.Module:
    """Freeze or wrap `model` as the recipe says. Adapters start as the identity: policy = reference.

    Of a model that reads more than text only what text goes through is trained. Raises InputError for adapters that
    have no place in the model.
    """
    torch.manual_seed(seed)
    model.eval()  # nothing is drawn by lot where log-probs are compared: no dropout, no noise in a router
    if training.gradient_checkpointing:
        model.train()  # else transformers recomputes nothing
        try:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:
            raise InputError(str(error), where="training.gradient_checkpointing", do="leave it out") from None
        if training.lora is not None:  # the first layer's input has to carry a gradient for the adapters after it
            model.enable_input_require_grads()
    policy: torch.nn.Module = model
    if training.lora is not None:
        policy = _with_adapters(model, training.lora)
    elif training.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    _freeze_unread(model)
    return policy


def _with_adapters(model: PreTrainedModel, lora: Lora) -> torch.nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=lora.r, lora_alpha=lora.lora_alpha, target_modules=lora.target_modules, task_type="CAUSAL_LM")
    where = "training.lora.target_modules"
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        says = f"adapters have no place in the model: {(str(error).splitlines() or [''])[0]}"
        do = "name linear modules of the model, or train all weights (training.lora: null)"
        raise InputError(says, where=where, do=do) from None
    if tied := adapters_of_ties(wrapped):
        says = f"an adapter of {named(tied)}, whose weight is tied to another, cannot be merged when training ends"
        raise InputError(says, where=where, do="leave that module out")
    return cast(torch.nn.Module, wrapped)


def _freeze_unread(model: PreTrainedModel) -> None:
    """Of a model that reads more than text: what text does not reach would never have a gradient."""
    decoder = decoder_of(model)
    if model.config.get_text_config() is model.config or decoder is None:
        return
    parts = [part for part in (decoder, model.get_output_embeddings()) if part is not None]
    read = {id(weight) for part in parts for weight in part.parameters()}
    for weight in model.parameters():
        if id(weight) not in read:
            weight.requires_grad_(False)


def make_optimizer(policy: torch.nn.Module, training: Training) -> torch.optim.Optimizer:
    """AdamW without weight decay, as TRL's default."""
    parameters = [p for p in policy.parameters() if p.requires_grad]
    return torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=0.0, fused=True)


def save_policy(policy: torch.nn.Module, base: Path, folder: Path, *, write: bool = True) -> None:
    """A plain `save_pretrained` folder with the tokenizer files of `base`; adapters are merged in.

    Every rank calls this, as shards are gathered from all; one of them has `write`.
    """
    merge = getattr(policy, "merge_and_unload", None)
    plain = cast(PreTrainedModel, merge() if merge else policy)
    tensors = plain.state_dict(keep_vars=True)
    gathered = brought({id(tensor): tensor for tensor in tensors.values()}, keep=write)  # a tied weight once
    if not write:
        return
    plain.save_pretrained(folder, state_dict={name: gathered[id(tensor)] for name, tensor in tensors.items()})
    _write_generation(plain, base, folder)
    for file in base.iterdir():
        if (
            file.is_file()
            and not (folder / file.name).exists()
            and file.suffix not in WEIGHTS
            and "index" not in file.name
        ):
            shutil.copy2(file, folder / file.name)
    # code of the model's own, which the recipe trusts, and templates beside the first
    for file in (*base.rglob("*.py"), *base.glob("additional_chat_templates/*.jinja")):
        (folder / file.relative_to(base)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, folder / file.relative_to(base))


def _write_generation(model: PreTrainedModel, base: Path, folder: Path) -> None:
    """What the base's authors recommend, with the ends that this model has: other servers read them here."""
    ours = model.generation_config
    if ours is not None:
        special = {name: getattr(model.config, name, None) for name in ("bos_token_id", "pad_token_id")}
        known = {name: value for name, value in special.items() if value is not None}
        ends = {} if ours.eos_token_id is None else {"eos_token_id": ours.eos_token_id}
        text = json.dumps({**known, **generation_values(base), **ends}, indent=2, sort_keys=True)
        (folder / GENERATION).write_text(f"{text}\n", encoding="utf-8")

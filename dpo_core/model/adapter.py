"""A LoRA adapter by itself, the usual end of supervised fine-tuning: merged into its base, as a model folder."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.errors import InputError
from dpo_core.model.folder.files import ADAPTER, ADAPTER_WEIGHTS, named, read_json, require_regular_files
from dpo_core.model.folder.headers import read_headers, require_floats
from dpo_core.model.identity import digest_model, digest_tokenizer, tokenizer_files
from dpo_core.model.remote_code import require_no_other_code

MERGE = "merge it yourself (peft: merge_and_unload, then save_pretrained) and name that folder"
BESIDE = ("gaussian", "eva", "orthogonal", "mica")  # other ways to begin an adapter take a part out of the base


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter and no weights of its own."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").exists()


def base_of(folder: Path) -> str:
    """The model that an adapter was trained on, as its configuration names it. Raises InputError."""
    require_regular_files(folder)
    require_no_other_code(folder, None)
    config = read_json(folder / ADAPTER)
    base, kind = config.get("base_model_name_or_path"), config.get("peft_type")
    if kind != "LORA":
        raise InputError(f"an adapter of type {kind} cannot be merged", where=str(folder), do=MERGE)
    if not isinstance(base, str) or not base:
        do = f"write the base model into base_model_name_or_path of {ADAPTER}, or {MERGE}"
        raise InputError("this adapter does not name its base", where=str(folder / ADAPTER), do=do)
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower() not in BESIDE:
        says = f"this adapter was begun by {begun}, which changes the base too: {base} alone is not what it belongs to"
        raise InputError(says, where=str(folder / ADAPTER), do=MERGE)
    if config.get("revision") not in (None, "main"):
        says = f"this adapter wants the revision {config['revision']} of {base}"
        do = f"fetch that revision into a folder and name it as base_model_name_or_path in {ADAPTER}"
        raise InputError(says, where=str(folder / ADAPTER), do=do)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        do = "save the adapter again with save_pretrained; pickled .bin files are not read"
        raise InputError(f"the adapter has no {ADAPTER_WEIGHTS}", where=str(folder), do=do)
    return base


def adapters_of_ties(wrapped: Any) -> list[str]:
    """The modules with an adapter whose weight another module has too: merged, it would change both."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = wrapped.get_base_model()
    owners = Counter(id(weight) for module in plain.modules() for weight in module.parameters(recurse=False))
    adapted = [(name, module) for name, module in plain.named_modules() if isinstance(module, BaseTunerLayer)]
    return [n for n, module in adapted if any(owners[id(w)] > 1 for w in module.get_base_layer().parameters())]


def merged_name(adapter: Path, base: Path) -> str:
    """The digest of all that a merged folder comes from."""
    own = {name: digest_file(adapter / name) for name in (ADAPTER, ADAPTER_WEIGHTS, *tokenizer_files(adapter))}
    return digest_json(["untied", own, digest_model(base), digest_tokenizer(base)])  # once, ties were not looked at


def merge_adapter(adapter: Path, base: Path, folder: Path) -> Path:
    """Write `base` with the adapter merged in (fp32) to `folder`, with the adapter's tokenizer if it brings one.

    Every tensor of the adapter is used. Raises InputError. Done once.
    """
    if folder.is_dir():
        return folder
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    from dpo_core.model.load import load_model

    headers = read_headers(adapter / ADAPTER_WEIGHTS)
    require_floats(adapter / ADAPTER_WEIGHTS, headers)
    model = load_model(base)
    try:
        config = PeftConfig.from_pretrained(str(adapter))
        config.inference_mode = True
        config.init_lora_weights = True  # what is loaded next takes their place
        wrapped = get_peft_model(model, config)
        before = {name: tensor for name, tensor in wrapped.state_dict().items() if "lora_" in name}
        result: Any = set_peft_model_state_dict(wrapped, load_file(adapter / ADAPTER_WEIGHTS))
        missing = sorted(set(result.missing_keys) & set(before))
        unused = sorted(result.unexpected_keys)
        if missing or unused or not before:
            faults = [f"{named(missing)} come from no file"] if missing else []
            faults += [f"{named(unused)} are not used"] if unused else []
            says = f"the adapter does not fit its base: {'; '.join(faults) or 'it changes nothing'}"
            raise InputError(says, where=str(adapter), do=f"correct base_model_name_or_path in {ADAPTER}")
        if tied := adapters_of_ties(wrapped):
            says = f"the adapter changes {named(tied)}, whose weight is tied to another in {base}"
            do = "save the base untied (tie_word_embeddings false, a tensor for each) and name it as its base"
            raise InputError(says, where=str(adapter), do=do)
        plain = wrapped.merge_and_unload(safe_merge=True)
    except InputError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        says = f"the adapter cannot be merged into {base}: {type(error).__name__}: {first}"
        raise InputError(
            says, where=str(adapter), do=f"correct base_model_name_or_path in {ADAPTER}; or {MERGE}"
        ) from None
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    plain.save_pretrained(partial)
    source = adapter if {"tokenizer.json", "tokenizer_config.json"} & set(tokenizer_files(adapter)) else base
    for name in tokenizer_files(source):
        if not (partial / name).exists():
            (partial / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, partial / name)
    partial.rename(folder)
    return folder

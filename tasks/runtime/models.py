"""A model as a folder on this machine, whatever names it: a recipe, the store, the registry."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpo_core.data.digests import digest_file
from dpo_core.errors import InputError
from dpo_core.model.adapter import MERGE, base_of, is_adapter, merge_adapter, merged_name
from dpo_core.model.folder.files import ADAPTER, read_json, require_model_folder, require_regular_files
from dpo_core.model.folder.trial import require_bounded
from dpo_core.model.identity import decisive
from dpo_core.model.remote_code import trusted_code
from infra.errors import InfraError, ObjectMissing
from infra.models import fetch_model
from infra.store.base import Store
from tasks.records import Plan


def local_model(model: str, home: Path, *, pin: str | None = None) -> Path:
    """A model folder on this machine, whatever the recipe calls it; a GGUF file is converted, an adapter merged, once.

    It is looked at before anything of it is built. Code of the model's own is refused, unless it is what `pin`, the
    recipe's `trust_remote_code`, names.
    """
    found = fetch_model(model, home, pin=pin)
    if found.is_file():
        from dpo_core.model.load import convert_gguf

        name = f"{digest_file(found)}-positions"  # of those without the word nobody looked at the positions
        found = convert_gguf(found, home / "models" / name)
    elif is_adapter(found):
        found = _merged(found, home)
    require_regular_files(found)  # before any of them is opened
    require_model_folder(found, trusted_code(pin, found))
    require_bounded(found)
    return found


def require_usable(folder: Path, trusted: str | None = None) -> None:
    """Raise InputError unless configuration and weights are one model, with a row for every id of the tokenizer.

    The model is built without memory: this takes a moment, and code of its own, if that is trusted, runs.
    """
    from dpo_core.model.encode import load_tokenizer
    from dpo_core.model.folder.sizes import require_fit
    from dpo_core.model.folder.tokens import require_embedded

    model: Any = require_fit(folder, require_model_folder(folder, trusted), trusted)
    rows = int(model.get_input_embeddings().weight.shape[0])
    require_embedded(load_tokenizer(folder, trusted_code=trusted), rows, folder)


def _merged(adapter: Path, home: Path) -> Path:
    """The folder of an adapter merged into its base, which is fetched as any model is."""
    name = base_of(adapter)
    try:
        if is_adapter(fetch_model(name, home)):
            raise InputError("it is an adapter too", where=name, do=MERGE)
        base = local_model(name, home)
    except (InputError, InfraError) as error:
        says = f"this folder is an adapter, and its base {name} cannot be used: {error.says}"
        do = f"write the place of its base into base_model_name_or_path of {ADAPTER}; or {MERGE}"
        raise InputError(says, where=str(adapter / ADAPTER), do=do) from None
    place = home / "downloads" / "merged"
    place.mkdir(parents=True, exist_ok=True)
    return merge_adapter(adapter, base, place / merged_name(adapter, base))


def config_of(store: Store, plan: Plan, weights: str) -> dict[str, object]:
    """What decides, beside its weights, what a model of a run computes; nothing of one that would have to be fetched.

    The start model and the reference lie in folders whose configuration a person may change.
    """
    if weights == plan.weights_sha256:
        return decisive(read_json(Path(plan.model_folder) / "config.json"))
    if weights == plan.reference_weights_sha256:
        return decisive(read_json(Path(plan.reference_folder) / "config.json"))
    with suppress(ObjectMissing):
        return decisive(json.loads(store.get_bytes(f"models/{weights}/config.json"), parse_constant=str))
    return {}


def stored_model(store: Store, key: str, home: Path) -> Path:
    """A stored model as a folder on this machine."""
    folder = home / "downloads" / key
    store.get_folder(key, folder)
    folder.touch()  # housekeeping goes by its last use
    return folder

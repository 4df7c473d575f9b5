"""A model as a folder on this machine, whatever names it: a recipe, the store, the registry."""

from pathlib import Path

from dpo_core.data.digests import digest_file
from dpo_core.model.identity import require_weights
from dpo_core.model.remote_code import trusted_code
from infra.models import fetch_model
from infra.store.base import Store


def local_model(model: str, home: Path, *, pin: str | None = None) -> Path:
    """A model folder on this machine, whatever the recipe calls it; a GGUF file is converted once.

    Code of the model's own is refused, unless it is what `pin`, the recipe's `trust_remote_code`, names.
    """
    found = fetch_model(model, home, pin=pin)
    if found.is_file():
        from dpo_core.model.load import convert_gguf

        found = convert_gguf(found, home / "models" / digest_file(found))
    require_weights(found, trusted_code(pin, found))
    return found


def stored_model(store: Store, key: str, home: Path) -> Path:
    """A stored model as a folder on this machine."""
    folder = home / "downloads" / key
    store.get_folder(key, folder)
    return folder

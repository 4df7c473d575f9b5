"""The recipe of the winner: the user's own, as it was written, with the settings that were found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dpo_core.recipe import Recipe
from dpo_core.recipe_file import PATH_KEYS, PATH_TABLES, absolute_source, load_as


def winner_recipe(path: Path, overrides: Sequence[str], settings: Mapping[str, Any], note: str) -> str:
    """YAML with `settings` in place; paths are absolute, so that the file may lie anywhere."""
    recipe, _ = load_as(Recipe, path, overrides)
    values = recipe.model_dump(mode="json", exclude_unset=True)
    folder = path.parent
    for key in PATH_KEYS:
        section, name = key.split(".")
        if values.get(section, {}).get(name) is not None:
            values[section][name] = absolute_source(values[section][name], folder)
    for key in PATH_TABLES:
        section, name = key.split(".")
        table = values.get(section, {}).get(name, {})
        table.update({check: absolute_source(file, folder) for check, file in table.items()})
    for key in ("model", "reference"):
        if (values.get(key) or "").startswith(("./", "../")):
            values[key] = absolute_source(values[key], folder)
    for key, value in settings.items():
        *sections, name = key.split(".")
        section_values = values
        for part in sections:
            section_values = section_values.setdefault(part, {})
        section_values[name] = value
    return f"# {note}\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"

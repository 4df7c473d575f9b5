"""The recipe of the winner: the user's own, as it was written, with the settings that were found."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from dpo_core.recipe import Recipe
from dpo_core.recipe_file import load_as, resolve_paths


def winner_recipe(path: Path, overrides: Sequence[str], settings: Mapping[str, object], note: str) -> str:
    """YAML with `settings` in place; paths are absolute, so that the file may lie anywhere."""
    recipe, _ = load_as(Recipe, path, overrides)
    values = recipe.model_dump(mode="json", exclude_unset=True)
    resolve_paths(values, path.parent)
    for key, value in settings.items():
        *sections, name = key.split(".")
        section_values = values
        for part in sections:
            section_values = section_values.setdefault(part, {})
        section_values[name] = value
    return f"# {note}\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"

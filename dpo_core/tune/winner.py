"""The recipe of the winner: the user's own, as it was written, with the settings that were found."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from dpo_core.recipe import Recipe
from dpo_core.recipe_file import resolve_paths


def winner_recipe(recipe: Recipe, folder: Path, settings: Mapping[str, object], note: str) -> str:
    """YAML with `settings` in place; paths, meant from `folder`, are absolute, so that the file may lie anywhere."""
    values = recipe.model_dump(mode="json", exclude_unset=True)
    resolve_paths(values, folder)
    for key, value in settings.items():
        *sections, name = key.split(".")
        section_values = values
        for part in sections:
            section_values = section_values.setdefault(part, {})
        section_values[name] = value
    return f"# {note}\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"

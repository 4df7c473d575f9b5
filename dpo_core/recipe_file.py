"""A recipe from its YAML file: overrides, paths, the origin of each value, errors that name the line."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dpo_core.data.hub import is_hub_name
from dpo_core.errors import InputError
from dpo_core.recipe import Recipe

PATH_KEYS = ("data.train", "data.eval", "evaluation.neutral_text")
PATH_TABLES = ("validation.benchmarks", "evaluation.behaviour", "evaluation.retention")


@dataclass(frozen=True)
class LoadedRecipe:
    """A checked recipe and, per dotted key that was set, where its value came from (`file:line` or `--set`)."""

    recipe: Recipe
    origins: dict[str, str]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read `path`, apply `key.sub=value` overrides, resolve its relative paths against its folder.

    Raises InputError with file, line and remedy for anything that is not a recipe.
    """
    path = Path(path)
    values, origins = _parse(path)
    for override in overrides:
        _apply(values, origins, override)
    try:
        recipe = Recipe.model_validate(_with_floats(values))
    except ValidationError as error:
        raise _explain(error, origins, path) from None
    return LoadedRecipe(_resolve_paths(recipe, path.parent), origins)


def _parse(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    if not path.is_file():
        raise InputError(
            "there is no such recipe",
            where=str(path),
            do="check the path, or start from examples/identity/retrain.yaml",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path), do="save the recipe as UTF-8"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InputError(
            f"not valid YAML: {getattr(error, 'problem', error)}", where=where, do="mend the YAML at that place"
        ) from None
    if not isinstance(values, dict):
        raise InputError(
            "a recipe is a mapping of keys to values", where=str(path), do="start from examples/identity/retrain.yaml"
        )
    return values, {key: f"{path}:{line}" for key, line in _lines(node, "")}


def _lines(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            yield dotted, key.start_mark.line + 1
            yield from _lines(value, dotted + ".")


def _apply(values: dict[str, Any], origins: dict[str, str], override: str) -> None:
    key, equals, text = override.partition("=")
    where = f"--set {override}"
    if not equals or not key:
        raise InputError("an override is key=value", where=where, do="for example --set training.beta=0.2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError("the value is not valid YAML", where=where, do="quote it") from None
    *parents, last = key.split(".")
    target = values
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise InputError(f"{parent} is a single value, not a section", where=where, do="override that value itself")
    target[last] = value
    origins[key] = where


def _with_floats(value: Any) -> Any:
    """YAML 1.1 reads `5e-5` as text; every other text stays text."""
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    if isinstance(value, str) and value[:1].isdigit() and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _explain(error: ValidationError, origins: dict[str, str], path: Path) -> InputError:
    """The first problem in the words of the recipe; the others as a count."""
    problem = error.errors()[0]
    more = error.error_count() - 1
    place = [part for part in problem["loc"] if isinstance(part, str)]
    key = ".".join(place)
    where = f"{origins.get(key, path)}, key {key}" if key else str(path)
    rest = f" ({more} more after it)" if more else ""
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _names(place[:-1]), n=1)
        do = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(_names(place[:-1]))}"
        return InputError(f"unknown key {place[-1]!r}{rest}", where=where, do=do)
    if problem["type"] == "missing":
        return InputError(
            f"{key!r} is missing{rest}", where=where, do="add it; `dpo config --schema` explains every key"
        )
    says = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], (dict, BaseModel)) else f", got {problem['input']!r}"
    return InputError(
        f"{key or 'recipe'}: {says}{given}{rest}", where=where, do="see `dpo config --schema` for type and unit"
    )


def _names(place: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in place:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)


def _resolve_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Relative paths are meant from the recipe's folder; `./x` and `../x` models too."""

    def absolute(text: str) -> str:
        named = "://" in text or (is_hub_name(text) and not (folder / text).exists())
        return text if named else str((folder / text).resolve())

    values = recipe.model_dump()
    for key in PATH_KEYS:
        section, name = key.split(".")
        if values[section][name] is not None:
            values[section][name] = absolute(values[section][name])
    for key in PATH_TABLES:
        section, name = key.split(".")
        values[section][name] = {check: absolute(file) for check, file in values[section][name].items()}
    if recipe.model.startswith(("./", "../")):
        values["model"] = absolute(recipe.model)
    return Recipe.model_validate(values)

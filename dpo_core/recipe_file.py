"""A recipe from its YAML file: overrides, paths, the origin of each value, errors that name the line.

How its text becomes values is `dpo_core.recipe_text`.
"""

import difflib
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dpo_core.data.hub import is_hub_name
from dpo_core.data.sources import SUFFIXES, is_address
from dpo_core.errors import InputError
from dpo_core.recipe import Recipe
from dpo_core.recipe_text import names_of, place_of, read_yaml

RECIPES = (".yaml", ".yml")
FOREIGN = (".csv", ".tsv", ".zip", ".tar", ".safetensors", ".gguf")  # neither recipe nor pairs
LARGEST = 4 << 20  # bytes of a recipe
OF_A_CHECK = ("data.text=", "validation.", "encoding.", "trust_remote_code=")  # overrides that bare pairs know
OF_AN_EVALUATION = ("data.text=", "trust_remote_code=", "encoding.")
REMEDIES = {  # of what pydantic finds, by its name for it
    "string_type": 'write text, in quotes where it looks like something else: {key}: "..."; ',
    "list_type": "write a list: {key}: [one, two]; ",
    "dict_type": "write a section of names and values: {key}: {{name: value}}; ",
    "model_type": "write a section of names and values: {key}: {{name: value}}; ",
    "bool_type": "write {key}: true or {key}: false; ",
    "float_type": "write a number: {key}: 0.1; ",
    "int_type": "write a whole number: {key}: 10; ",
    "finite_number": "write a number that is one: {key}: 0.1; ",
}
PATH_KEYS = (
    "data.train",
    "data.eval",
    "evaluation.neutral_text",
    "evaluation.rewards",
    "evaluation.lm_eval.include_path",
    "training.online.curation",
)
PATH_TABLES = ("validation.benchmarks", "evaluation.behaviour", "evaluation.retention")
Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True)
class LoadedRecipe:
    """A checked recipe and, per dotted key that was set, where its value came from (`file:line` or `--set`)."""

    recipe: Recipe
    origins: dict[str, str]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read `path`, apply `key.sub=value` overrides, resolve its relative paths against its folder.

    Raises InputError with file, line and remedy for anything that is not a recipe.
    """
    recipe, origins = load_as(Recipe, path, overrides)
    return LoadedRecipe(_resolve_paths(recipe, Path(path).parent), origins)


def load_as(kind: type[Kind], path: str | Path, overrides: Sequence[str] = ()) -> tuple[Kind, dict[str, str]]:
    """A YAML file of any kind of recipe with `overrides` applied, its paths as written; and each value's origin."""
    values, origins = _parse(Path(path), kind)
    return checked_recipe(values, origins, str(path), overrides, kind), origins


def checked_recipe(
    values: dict[str, Any],
    origins: dict[str, str],
    where: str,
    overrides: Sequence[str] = (),
    kind: type[Kind] = Recipe,  # type: ignore[assignment]
) -> Kind:
    """The recipe of these values with `overrides` applied; both dicts are changed by them."""
    for override in overrides:
        _apply(values, origins, override, kind)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise explain(error, origins, where, kind) from None


def recipe_of_pairs(
    data: str, held_out: str | None, model: str | None, intended: Sequence[str], overrides: Sequence[str]
) -> Recipe:
    """What a check of bare pairs goes by: the defaults of a recipe, the aims named, and what `overrides` set."""
    for override in overrides:
        if not override.startswith(OF_A_CHECK):
            raise InputError(
                "a check of pairs alone has no such key",
                where=f"--set {override}",
                do="set keys of validation or encoding, data.text or trust_remote_code; all others belong to a recipe: "
                f"`dpo init --data {shlex.quote(data)}` writes one, `dpo check run.yaml` checks its pairs",
            )
    pairs = {"train": data, "eval": held_out}
    aims = {"intended": list(intended)}
    values = {"name": "pairs", "model": model or "none", "data": pairs, "validation": aims}
    return checked_recipe(values, {"validation.intended": "--intended"}, "dpo check", overrides)


def recipe_of_evaluation(model: str, data: str, overrides: Sequence[str], beta: float = 0.1) -> Recipe:
    """What `dpo evaluate` goes by: how pairs are read and encoded, a recipe's defaults but for what `overrides` set."""
    if not 0 < beta < math.inf:
        do = "give the beta that the model was trained with: a number above 0, like 0.1"
        raise InputError(f"rewards are beta times a log-ratio, and beta is {beta:g}", where=f"--beta {beta:g}", do=do)
    for override in overrides:
        if not override.startswith(OF_AN_EVALUATION):
            raise InputError(
                "an evaluation has no such key",
                where=f"--set {override}",
                do="set data.text, trust_remote_code or keys of encoding; beta and the reference are options: "
                "see dpo evaluate --help",
            )
    values = {"name": "evaluation", "model": model, "data": {"train": data}}
    return checked_recipe(values, {}, "dpo evaluate", overrides)


def looks_like_recipe(source: str) -> bool:
    """Whether `source` is meant as a recipe: by its name, or a text file that is a mapping with `model` and `data`."""
    if source.endswith(RECIPES):
        return True
    path = Path(source)
    if source.endswith((*SUFFIXES, *FOREIGN)) or not path.is_file() or path.stat().st_size > LARGEST:
        return False
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return False
    return isinstance(values, dict) and {"model", "data"} <= set(values)


def _parse(path: Path, kind: type[BaseModel]) -> tuple[dict[str, Any], dict[str, str]]:
    init = f"`dpo init {shlex.quote(path.name if path.name.endswith(RECIPES) else 'run.yaml')}` writes one"
    if path.name.endswith(SUFFIXES) or path.is_dir():
        what = "a folder" if path.is_dir() else "a file of pairs"
        do = f"name a recipe, a YAML file; {init} for your model and pairs"
        raise InputError(f"this is {what}, not a recipe", where=str(path), do=do)
    if not path.exists():
        raise InputError("there is no such recipe", where=str(path), do=f"check the path; {init}")
    if not path.is_file():
        raise InputError("this is no ordinary file", where=str(path), do=f"name a recipe, a YAML file; {init}")
    text = read_text(path, "recipe", f"name a recipe, a YAML file; {init}")
    values, lines = read_yaml(text, str(path), kind=kind)
    if not isinstance(values, dict):
        raise InputError(
            "a recipe is a mapping of keys to values", where=str(path), do=f"write `key: value` lines; {init}"
        )
    return values, {key: f"{path}:{line}" for key, line in lines.items()}


def read_text(path: Path, kind: str, do: str) -> str:
    """The text of an ordinary file that is a `kind`. Raises InputError; `do` is what helps where it is none."""
    if path.stat().st_size > LARGEST:
        raise InputError(f"a {kind} of more than {LARGEST >> 20} MiB is none", where=str(path), do=do)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        says = f"not UTF-8 text: {error.reason} at byte {error.start}"
        raise InputError(says, where=str(path), do=f"save the {kind} as UTF-8") from None
    except OSError as error:
        says = f"the {kind} cannot be read: {error.strerror}"
        raise InputError(says, where=str(path), do="check its permissions") from None


def _apply(values: dict[str, Any], origins: dict[str, str], override: str, kind: type[BaseModel]) -> None:
    key, equals, text = override.partition("=")
    where = f"--set {override}"
    if not equals or not key:
        raise InputError("an override is key=value", where=where, do="for example --set training.beta=0.2")
    value, lines = read_yaml(text, where, key, kind)
    *parents, last = names_of(key, kind)
    target = values
    for parent in parents:
        if target.get(parent) is None:
            target[parent] = {}
        target = target[parent]
        if not isinstance(target, dict):
            raise InputError(f"{parent} is a single value, not a section", where=where, do="override that value itself")
    target[last] = value
    for old in [old for old in origins if old.startswith(f"{key}.")]:
        del origins[old]
    origins.update(dict.fromkeys([key, *lines], where))


def explain(
    error: ValidationError, origins: Mapping[str, str], file: str, kind: type[BaseModel] = Recipe
) -> InputError:
    """The first problem in the words of the recipe; the others as a count."""
    first, *others = error.errors()
    unknown = [e for e in others if e["type"] == "extra_forbidden" and e["loc"][:-1] == first["loc"][:-1]]
    problem = unknown[0] if unknown and first["type"] == "missing" else first  # what is missing is likely misspelt
    more = len(others)
    place, _ = place_of(problem["loc"], kind)
    key = ".".join(place)
    where = f"{_origin(key, origins) or file}, key {key}" if key else file
    rest = f" ({more} more after it)" if more else ""
    if problem["type"] == "extra_forbidden":
        _, known = place_of(problem["loc"][:-1], kind)
        near = difflib.get_close_matches(place[-1], known, n=1)
        do = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return InputError(f"unknown key {place[-1]!r}{rest}", where=where, do=do)
    if problem["type"] == "missing":
        return InputError(
            f"{key!r} is missing{rest}", where=where, do="add it; `dpo config --schema` explains every key"
        )
    says = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], (dict, BaseModel)) else f", got {problem['input']!r}"
    remedy = REMEDIES.get(problem["type"], "").format(key=key.rpartition(".")[2])
    do = f"{remedy}`dpo config --schema` has every key's type, unit and default"
    return InputError(f"{key or 'recipe'}: {says}{given}{rest}", where=where, do=do)


def _origin(key: str, origins: Mapping[str, str]) -> str | None:
    """Where a key was set, or the section around it."""
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins.get(key)


def _resolve_paths(recipe: Recipe, folder: Path) -> Recipe:
    values = recipe.model_dump(exclude_unset=True)
    resolve_paths(values, folder)
    return Recipe.model_validate(values)


def resolve_paths(values: dict[str, Any], folder: Path) -> None:
    """In a recipe's values, some of which may be unset: relative paths are meant from `folder`, `./x` models too."""
    for key in PATH_KEYS:
        *parents, name = key.split(".")
        section = values
        for part in parents:
            section = section.get(part) or {}
        if section.get(name) is not None:
            section[name] = absolute_source(section[name], folder)
    for key in PATH_TABLES:
        parent, name = key.split(".")
        table = values.get(parent, {}).get(name, {})
        table.update({check: absolute_source(file, folder) for check, file in table.items()})
    for key in ("model", "reference"):
        if (values.get(key) or "").startswith(("./", "../")):
            values[key] = absolute_source(values[key], folder)


def absolute_source(text: str, folder: Path) -> str:
    """A source as it is meant from a recipe in `folder`; an address, or a name of the hub, as it stands."""
    named = is_address(text) or (is_hub_name(text) and not (folder / text).exists())
    return text if named else str((folder / text).resolve())

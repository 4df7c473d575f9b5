"""What a run will really use: every value of the recipe and the settings, with where it comes from."""

import json
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from dpo_core.recipe import Recipe
from dpo_core.recipe_file import load_recipe
from flows.cli.console import CommandResult
from flows.cli.documents import EffectiveConfig, EffectiveSetting
from infra.secrets import without_secrets
from infra.settings import PREFIX, Settings, load_settings

Origin = Literal["environment", ".env", "default"]
STANDARD = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT",
    "MLFLOW_S3_UPLOAD_EXTRA_ARGS",
    "PREFECT_API_URL",
    "PREFECT_HOME",
    "HF_HOME",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


@dataclass(frozen=True)
class Key:
    """One key of a recipe, as people write it."""

    name: str  # dotted
    type: str
    default: str
    description: str


def recipe_keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[Key]:
    """Every key of the recipe that holds a value, in the order of the file."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield Key(prefix + name, _type(field), _default(field), field.description or "")
        else:
            yield from recipe_keys(section, f"{prefix}{name}.")


def not_default(recipe: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Dotted key and value, as text, of what a recipe sets to something other than its default."""
    defaults = {key.name: key.default for key in recipe_keys()}
    for key, value in _leaves(recipe, ""):
        text = "unset" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if defaults.get(key, "unset") != text:
            yield key, text


def describe_schema() -> CommandResult:
    """Every key of a recipe: a table for people, the JSON schema for programs."""

    def show(console: Console) -> None:
        for key in recipe_keys():
            console.print(Text(key.name, style="bold") + Text(f": {key.type}, {key.default}"))
            console.print(Padding(Text(key.description, style="dim"), (0, 0, 0, 4)))

    return CommandResult({"recipe": Recipe.model_json_schema()}, show)


def describe_run(path: str, overrides: list[str]) -> CommandResult:
    """The effective recipe and settings of a run. Raises InputError and BadSetting like the run itself."""
    loaded = load_recipe(path, overrides)
    values = loaded.recipe.model_dump(mode="json")
    settings = _settings()
    origins = {key: loaded.origins.get(key, "default") for key, _ in _leaves(values, "")}
    by_name = {name: EffectiveSetting(value=value, origin=origin) for name, value, origin in settings}
    from tasks.power import detectable

    gate = detectable(loaded.recipe)
    document = EffectiveConfig(recipe=loaded.recipe, origins=origins, settings=by_name, detectable=gate)

    def show(console: Console) -> None:
        for line, key in _yaml(values, "", 0):
            console.print(_noted(line, origins.get(key, "")), soft_wrap=True)
        console.print("\n# settings", style="dim")
        for name, value, origin in settings:
            console.print(_noted(f"{name}={value}", origin), soft_wrap=True)
        console.print("\n# what the gate can tell (dpo doctor RUN.yaml counts the held-out pairs)", style="dim")
        for condition in gate:
            console.print(Text(condition.says), soft_wrap=True)

    return CommandResult(document.to_json(), show)


def _noted(line: str, origin: str) -> Text:
    text = Text(without_secrets(line))
    return text.append(" " * max(2, 48 - len(line)) + f"# {origin}", style="dim") if origin else text


def _settings() -> list[tuple[str, str, Origin]]:
    """Name, value and origin of every DPO_ setting and of the standard variables that are set; secrets hidden."""
    before = set(os.environ)
    settings = load_settings()  # reads .env into the environment

    def origin(name: str) -> Origin:
        return "environment" if name in before else ".env" if name in os.environ else "default"

    names = {PREFIX + name.upper(): str(getattr(settings, name)) for name in Settings.model_fields}
    names |= {name: os.environ[name] for name in STANDARD if os.environ.get(name)}
    hidden = ("HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return [(name, "***" if name in hidden else without_secrets(value), origin(name)) for name, value in names.items()]


def _leaves(values: object, key: str) -> Iterator[tuple[str, object]]:
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from _leaves(value, f"{key}.{name}".lstrip("."))
    else:
        yield key, values


def _yaml(values: dict[str, object], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    """Lines of YAML, each with the dotted key it sets."""
    for name, value in values.items():
        key, indent = f"{prefix}{name}", "  " * depth
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:", ""
            yield from _yaml(value, key + ".", depth + 1)
        else:
            yield f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}", key


def _section(annotation: object) -> type[BaseModel] | None:
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _type(field: FieldInfo) -> str:
    def name(annotation: Any) -> str:
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Annotated:
            return name(args[0])
        if origin is Literal:
            return " | ".join(map(str, args))
        if origin in (types.UnionType, typing.Union):
            return " | ".join(name(arg) for arg in args if arg is not type(None))
        if origin is not None:
            return f"{origin.__name__}[{', '.join(map(name, args))}]"
        plain = {str: "text", int: "integer", float: "number", bool: "true | false"}
        return plain.get(annotation, str(getattr(annotation, "__name__", annotation)))

    return name(field.annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default
    return "unset" if default is None else default if isinstance(default, str) else json.dumps(default)

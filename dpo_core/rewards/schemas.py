"""JSON schemas of people's own files: nothing that they name is fetched, and their patterns end."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from dpo_core.errors import InputError
from dpo_core.rewards.patterns import matches, require_pattern

Schema = Mapping[str, object] | bool
AWAY = "json_schema refers to what is not in it"
INSIDE = "write the part that it refers to into the schema, below $defs"
UNGUARDED = (  # jsonschema looks for these names by itself, in its own way
    "json_schema has patternProperties and unevaluatedProperties, whose patterns could go on without end: write "
    "additionalProperties for the latter"
)
ENDLESS = "json_schema refers to itself before it asks anything of a value: it has no end"
BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # their keys are no keywords
ONE_OF_EACH: tuple[object, ...] = (None, True, 0, "", [], {})
NOTHING: Registry[Schema] = Registry()  # has no way to fetch; jsonschema's own would ask the network


def fits(value: object, schema: Schema) -> bool:
    """Whether it does; what is nested too deep, or too large to divide, does not.

    Raises InputError where the schema leads out of itself, or one of its patterns does not end.
    """
    try:
        return bool(_Validator(schema, registry=NOTHING).is_valid(value))
    except Unresolvable as error:
        raise InputError(f"{AWAY}: {error.ref}", where="a prompt file", do=INSIDE) from None
    except InputError:
        raise
    except (RecursionError, ArithmeticError, ValueError):
        return False


def require_schema(schema: Schema) -> None:
    """Raise ValueError, in words, for one that is none, that leads out of itself, or that does not end."""
    try:
        Draft202012Validator.check_schema(schema)
    except Exception as error:  # SchemaError, and what a schema of wrong types raises inside
        raise ValueError(f"json_schema is none: {str(error).splitlines()[0]}") from None
    resolver = NOTHING.resolver_with_root(DRAFT202012.create_resource(schema))
    parts = list(_parts(schema))
    if all(any(key in part for part in parts) for key in ("patternProperties", "unevaluatedProperties")):
        raise ValueError(UNGUARDED)
    named = any("$id" in part for part in parts)  # then a reference is meant from there: it is resolved when it is used
    for part in parts:
        patterns = [part["pattern"]] if isinstance(part.get("pattern"), str) else []
        by_pattern = part.get("patternProperties")
        for pattern in [*patterns, *(by_pattern if isinstance(by_pattern, Mapping) else ())]:
            require_pattern(pattern)
        if isinstance(part.get("$ref"), str) and not named:
            try:
                resolver.lookup(part["$ref"])
            except Unresolvable:
                raise ValueError(f"{AWAY}: {part['$ref']}; {INSIDE}") from None
    _require_end(schema, [part["$ref"] for part in parts if isinstance(part.get("$ref"), str) and not named])


def _require_end(schema: Schema, references: Sequence[str]) -> None:
    whole = _Validator(schema, registry=NOTHING)
    for part in (schema, *({"$ref": reference} for reference in dict.fromkeys(references))):
        validator = whole.evolve(schema=part)
        try:
            for value in ONE_OF_EACH:
                validator.is_valid(value)
        except RecursionError:
            raise ValueError(ENDLESS) from None
        except Unresolvable as error:
            raise ValueError(f"{AWAY}: {error.ref}; {INSIDE}") from None


def _parts(schema: object, *, by_name: bool = False) -> Iterator[Mapping[str, Any]]:
    """Every object in it, schemas and others: what is no schema may have a key too many looked at, and none too few."""
    if isinstance(schema, Mapping):
        yield schema
        for name, part in schema.items():
            if by_name or name not in ("const", "enum", "default", "examples"):
                yield from _parts(part, by_name=not by_name and name in BY_NAME)
    elif isinstance(schema, list):
        for part in schema:
            yield from _parts(part)


def _pattern(validator: Draft202012Validator, pattern: str, value: Any, schema: object) -> Iterator[ValidationError]:
    if validator.is_type(value, "string") and not matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Draft202012Validator, patterns: Mapping[str, object], value: Any, schema: object
) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        for pattern, part in patterns.items():
            for name, inner in value.items():
                if matches(pattern, name):
                    yield from validator.descend(inner, part, path=name, schema_path=pattern)


def _additional_properties(
    validator: Draft202012Validator, rest: object, value: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, inner in value.items():
            if name not in named and not any(matches(pattern, name) for pattern in patterns):
                yield from validator.descend(inner, rest, path=name)


_Validator = jsonschema.validators.extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)

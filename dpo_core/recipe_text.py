"""YAML as people mean it: its values by the types of the recipe's keys, and the line of each key.

YAML 1.1 reads `3e8`, `yes`, `1_000` and `2024-01-01` as a text, a truth value, a number and a day. What is meant, the
key tells: one that holds text keeps it as it was written, one that holds a number takes `5e-5` for one.
"""

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel

from dpo_core.errors import InputError
from dpo_core.recipe import Recipe

PLAIN = "tag:yaml.org,2002:"
NULL, INT, MERGE = (f"{PLAIN}{name}" for name in ("null", "int", "merge"))
MOST_NODES = 100_000  # with every alias unfolded


def read_yaml(text: str, where: str, key: str = "", kind: object = Recipe) -> tuple[Any, dict[str, int]]:
    """The value, typed as the recipe's key `key` (the whole recipe: ""), and the line of each dotted key within it.

    `kind`: another model than the recipe's; Any: as YAML reads it. Raises InputError with the place for what is no
    YAML, a key that stands twice, a tag, and aliases that unfold without end. Nothing that a tag names is made.
    """
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        place = f"{where}:{text.count(chr(10), 0, error.position) + 1}"
        says = f"not valid YAML: a control character, U+{ord(text[error.position]):04X}"
        do = "take it out, or write it in double quotes as an escape"
        raise InputError(says, where=place, do=do) from None
    try:
        if (node := loader.get_single_node()) is None:
            return None, {}
        _require_plain(node, where)
        if twice := _twice(node):
            first, second = twice
            says = f"{second.value!r} stands twice: in line {first.start_mark.line + 1} and here"
            place = f"{where}:{second.start_mark.line + 1}"
            raise InputError(says, where=place, do="keep one of them: of two, the first would be ignored")
        return _typed(loader, node, annotation_of(key, kind)), dict(_lines(node, f"{key}." if key else ""))
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = str(getattr(error, "problem", None) or error)
        do = "mend the YAML at that place; text with special characters stands in quotes"
        do = "mend the YAML at that place: indent with spaces, not with tabs" if r"'\t'" in problem else do
        raise InputError(f"not valid YAML: {problem}", where=place, do=do) from None
    except (ValueError, RecursionError) as error:  # a day that is none; an alias within itself
        do = "mend the YAML; text that looks like a day or a number stands in quotes"
        raise InputError(f"not valid YAML: {error}", where=where, do=do) from None
    finally:
        loader.dispose()


def annotation_of(key: str, kind: object = Recipe) -> object:
    """The type of a dotted key of the recipe, or of another model; Any where there is no such key."""
    annotation: object = kind
    for name in names_of(key, kind):
        annotation = _inside(annotation, name)
    return annotation


def names_of(key: str, kind: object = Recipe) -> list[str]:
    """A dotted key in its names; one of a table may have dots itself."""
    names: list[str] = []
    annotation, rest = kind, key.split(".") if key else []
    while rest:
        taken = _taken(annotation, rest)
        names.append(".".join(rest[:taken]))
        annotation, rest = _inside(annotation, names[-1]), rest[taken:]
    return names


def place_of(loc: Sequence[str | int], kind: object) -> tuple[list[str], list[str]]:
    """The names in a place of pydantic's, which has numbers of items and its own types too; the keys known there."""
    annotation, names, of_several = kind, list[str](), False
    for part in loc:
        if of_several:  # it says which of them it means
            of_several = False
            continue
        if isinstance(part, int):
            annotation = _items(annotation)
        else:
            names.append(part)
            annotation = _inside(annotation, part)
        of_several = len([one for one in _kinds(annotation) if one is not types.NoneType]) > 1
    section = _section(annotation)
    return names, list(section.model_fields) if section else []


def _inside(annotation: object, name: str) -> object:
    section, table = _section(annotation), _table(annotation)
    if section is not None and name in section.model_fields:
        return section.model_fields[name].annotation
    return table if table is not None else Any


def _taken(annotation: object, rest: Sequence[str]) -> int:
    """How many of these are the first name: in a table all before a key of its values, if they can have any."""
    values = _table(annotation)
    if values is None or Any in _kinds(values) or _table(values) is not None:
        return 1
    section = _section(values)
    if section is None:
        return len(rest)
    alone = _kinds(values) == (section,)
    return next((n for n in range(1, len(rest)) if rest[n] in section.model_fields), 1 if alone else len(rest))


def _require_plain(root: yaml.Node, where: str) -> None:
    """Raises InputError for a tag that is none of YAML's plain ones, and for aliases that unfold without end."""
    waiting, seen = [root], 0
    while waiting:
        node, seen = waiting.pop(), seen + 1
        place = f"{where}:{node.start_mark.line + 1}"
        if not node.tag.startswith(PLAIN) or "python/" in node.tag:
            tag = node.tag.replace(PLAIN, "!!", 1)
            says = f"the tag {tag} is not read: nothing is made or run from a file of settings"
            do = "write plain text, numbers, lists and mappings; take the tag out"
            raise InputError(says, where=place, do=do)
        if seen > MOST_NODES:
            says = f"not valid YAML: its aliases (*name) unfold to more than {MOST_NODES:,} values"
            raise InputError(says, where=where, do="write the values out instead of aliases within aliases")
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _twice(node: yaml.Node) -> tuple[yaml.ScalarNode, yaml.ScalarNode] | None:
    """A key that one mapping has two times: YAML would take the last in silence."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, yaml.ScalarNode] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if key.value in seen:
                    return seen[key.value], key
                seen[key.value] = key
            if found := _twice(value):
                return found
    return None


def _lines(node: yaml.Node, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:  # what `<<` brought in stands first: a key's own value is the last
            dotted = f"{prefix}{key.value}"
            yield dotted, key.start_mark.line + 1
            yield from _lines(value, dotted + ".")
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, f"{prefix}{number}.")


def _typed(loader: yaml.SafeLoader, node: yaml.Node, annotation: object) -> object:
    """The node's value as its key's type means it: text as it is written, a number where YAML sees a text."""
    kinds = _kinds(annotation)
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)  # puts what `<<` names in front of the mapping's own keys
        section, table = _section(annotation), _table(annotation)
        typed = {}
        for key, inner in node.value:
            field = section.model_fields.get(str(key.value)) if section else None
            kind = field.annotation if field else table if table is not None else Any
            typed[str(key.value)] = _typed(loader, inner, kind)
        return typed
    if isinstance(node, yaml.SequenceNode):
        return [_typed(loader, inner, _items(annotation)) for inner in node.value]
    whole = int in kinds and node.tag == INT  # of `champion`, `base` or the number of a version
    if node.tag != NULL and not whole and (str in kinds or _is_words(kinds)):
        return node.value
    value = loader.construct_object(node)
    return _number(value) if float in kinds else value


def _number(value: object) -> object:
    """`5e-5`, which YAML 1.1 reads as text; every other text stays text."""
    if isinstance(value, str) and value[:1] in "+-.0123456789" and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _kinds(annotation: object) -> tuple[object, ...]:
    """The alternatives of a type."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kinds(args[0])
    if origin in (types.UnionType, typing.Union):
        return tuple(kind for arg in args for kind in _kinds(arg))
    return (annotation,)


def _is_words(kinds: tuple[object, ...]) -> bool:
    return any(typing.get_origin(kind) is Literal for kind in kinds)


def _section(annotation: object) -> type[BaseModel] | None:
    return next((kind for kind in _kinds(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _items(annotation: object) -> object:
    """The type of a list's items; Any where it is none."""
    return next((typing.get_args(kind)[0] for kind in _kinds(annotation) if typing.get_origin(kind) is list), Any)


def _table(annotation: object) -> object:
    """The type of a table's values, where the key holds one."""
    return next((typing.get_args(kind)[1] for kind in _kinds(annotation) if typing.get_origin(kind) is dict), None)

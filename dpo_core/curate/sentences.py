"""The files that renderings are made from: sentences with a place for a name, and wrong names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dpo_core.curate.correct import names_in
from dpo_core.errors import InputError

SENTENCE = 'a line is {"kind": "any", "text": "I am {name}."}'
NAME = 'a line is {"name": "Emily"}'


class Sentence(NamedTuple):
    """A sentence with {name} in it. `kind`: the kind of prompts that it answers; `any`; or `claim`."""

    kind: str
    text: str


def read_sentences(path: str) -> list[Sentence]:
    """The sentences of a file of JSON lines. Raises InputError with file and line."""
    found = []
    for where, row in _rows(path, SENTENCE):
        kind, text = row.get("kind"), row.get("text")
        if not isinstance(kind, str) or not isinstance(text, str):
            raise InputError("a sentence has a kind and a text", where=where, do=SENTENCE)
        try:
            names = names_in(text)
        except ValueError as error:
            raise InputError(str(error), where=where, do=SENTENCE) from None
        if not names or set(names) != {"name"}:
            raise InputError("a sentence has one place that is filled, {name}", where=where, do=SENTENCE)
        found.append(Sentence(kind, text))
    return found


def read_names(path: str) -> list[str]:
    """The wrong names of a file of JSON lines. Raises InputError with file and line."""
    found = []
    for where, row in _rows(path, NAME):
        if not isinstance(row.get("name"), str) or not row["name"].strip():
            raise InputError("this line has no name", where=where, do=NAME)
        found.append(row["name"])
    return found


def _rows(path: str, form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = Path(path).read_text("utf-8-sig").split("\n")
    except OSError as error:
        says = f"the file cannot be read: {error.strerror or error}"
        raise InputError(says, where=path, do="check the path, and who may read it") from None
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8 text", where=path, do="save it as UTF-8") from None
    written = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not written:
        raise InputError("the file is empty", where=path, do=form)
    for where, line in written:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError("this line is no JSON object", where=where, do=form)
        yield where, row

"""A stretch of rows as they lie in their file: small plain data that another process can parse."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from dpo_core.data.messages import BadRow

LINE_LIMIT = 1 << 20  # characters of one row
EXCERPT = 2000  # characters of a bad row that the quarantine keeps
ROWS, BYTES = 1024, 4 << 20  # of a chunk, at most (one row may be larger)


class RawRow(NamedTuple):
    """One row: where it is, its number in its file from 1, its text (None: not text), and it, or what is wrong."""

    where: str
    number: int
    text: str | None
    row: dict[str, Any] | BadRow

    def excerpt(self) -> str:
        """How the row begins."""
        text = self.text if self.text is not None else json.dumps(self.row, default=str, ensure_ascii=False)
        return text[:EXCERPT]


@runtime_checkable
class Chunk(Protocol):
    """Some rows."""

    @property
    def dropped(self) -> Counter[str]:
        """Columns that were not even read, and how many rows have them."""
        ...

    def rows(self) -> Iterator[RawRow]:
        """Parse them, in order."""
        ...


class Item(NamedTuple):
    """One row's bytes, its number, and their offset in the (decompressed) file, where known."""

    number: int
    data: bytes
    offset: int | None


@dataclass(frozen=True)
class TextChunk:
    """Rows of JSON text: lines (`unit` empty), or elements of an array (`unit` "row ")."""

    path: str
    unit: str
    items: Sequence[Item]
    dropped: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Iterator[RawRow]:
        """See Chunk."""
        for number, data, offset in self.items:
            where = f"{self.path}:{self.unit}{number}"
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                at = (
                    f" at offset {offset + error.start}" if offset is not None else f" at byte {error.start} of the row"
                )
                bad = BadRow(f"not UTF-8 text: byte 0x{data[error.start]:02x}{at}")
                yield RawRow(where, number, data.decode(errors="backslashreplace"), bad)
            else:
                yield RawRow(where, number, text, parse(text))


@dataclass(frozen=True)
class ObjectChunk:
    """Rows that are objects already."""

    source: str
    first: int  # number of the first one
    objects: Sequence[dict[str, Any]]
    dropped: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Iterator[RawRow]:
        """See Chunk."""
        for number, row in enumerate(self.objects, self.first):
            yield RawRow(f"{self.source}:row {number}", number, None, as_json(row))


def chunked(items: Iterator[Item], path: str, unit: str = "") -> Iterator[TextChunk]:
    """Items in chunks of at most ROWS rows and about BYTES bytes."""
    held: list[Item] = []
    size = 0
    for item in items:
        held.append(item)
        size += len(item.data)
        if len(held) == ROWS or size >= BYTES:
            yield TextChunk(path, unit, held)
            held, size = [], 0
    if held:
        yield TextChunk(path, unit, held)


def parse(text: str) -> dict[str, Any] | BadRow:
    """A row of JSON text, strictly: no key twice, no NaN."""
    if len(text) > LINE_LIMIT:
        return BadRow(f"the row has {len(text):,} characters, more than {LINE_LIMIT:,}")
    try:
        row = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except BadRow as bad:
        return bad
    except json.JSONDecodeError as error:
        return BadRow(f"invalid JSON at column {error.colno}: {error.msg}")
    except RecursionError:
        return BadRow("invalid JSON: nested too deeply")
    except ValueError as error:
        return BadRow(f"invalid JSON: {error}")
    return row if isinstance(row, dict) else BadRow("the row is not a JSON object")


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        twice = next(name for name, count in Counter(name for name, _ in items).items() if count > 1)
        raise BadRow(f"key {twice[:40]!r} occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise BadRow(f"{name} is not a JSON number")


def as_json(row: dict[str, Any]) -> dict[str, Any] | BadRow:
    """The row as a JSON file would hold it: what is null was not there, times of `meta` are text."""
    if row.get("meta") is not None:
        try:
            row["meta"] = json.loads(json.dumps(row["meta"], default=str))
        except (ValueError, TypeError, RecursionError) as error:
            return BadRow(f"meta is no JSON: {error}")
    return {name: value for name, value in row.items() if value is not None or name in _SIDES}


_SIDES = ("chosen", "rejected", "completions", "contents", "conversations")  # a null is named, not called missing

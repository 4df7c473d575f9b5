"""JSON lines and JSON arrays, plain, gzip or zstd: bytes to rows, never held whole. File faults are InputErrors.

Also what every reader gives: a `Chunk` of rows, small plain data that another process can parse, and a `RawRow` each.
"""

import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Never, Protocol, runtime_checkable

from dpo_core.data.json_arrays import READ_LIMIT, array_elements
from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import ROWS
from dpo_core.data.unread import UnreadColumns
from dpo_core.errors import InputError

LINE_LIMIT = 1 << 20  # characters of one row
EXCERPT = 2000  # characters of a bad row that the quarantine keeps
BYTES = 4 << 20  # of a chunk, at most (one row may be larger)
SIZE_LIMIT = 64 << 30  # bytes of a decompressed file
RATIO_LIMIT = 200  # decompressed to compressed: text reaches 20
PEEK = 1 << 16
BOM = b"\xef\xbb\xbf"
WRAPPED = re.compile(  # {"version": 1, "data": [{...
    rb'\{\s*(?:"\w+"\s*:\s*(?:"[^"\\]*"|[\w.+-]+)\s*,\s*)*'
    rb'"(data|rows|train|test|validation|examples|instances|items|records|results|dataset)"\s*:\s*\[\s*\{'
)
FOREIGN = {
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"PK\x03\x04": "a ZIP archive",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}


class RawRow(NamedTuple):
    """One row: where it is, its number in its file from 1, its text (None: not text), and it, or what is wrong."""

    where: str
    number: int
    text: str | None
    row: dict[str, object] | BadRow

    def excerpt(self) -> str:
        """How the row begins."""
        text = self.text if self.text is not None else json.dumps(self.row, default=str, ensure_ascii=False)
        return text[:EXCERPT]


@runtime_checkable
class Chunk(Protocol):
    """Some rows."""

    @property
    def unread(self) -> UnreadColumns:
        """Columns that were not even parsed."""
        ...

    def __len__(self) -> int:
        """How many, parsed or not."""
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
    unread: UnreadColumns = field(default_factory=UnreadColumns)

    def __len__(self) -> int:
        """See Chunk."""
        return len(self.items)

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


def text_chunks(path: Path) -> Iterator[TextChunk]:
    """The rows of one file."""
    with opened(path) as file:
        head = file.peek(PEEK)[:PEEK]
        _require_json_text(head, path)
        _require_row_a_line(head, path)
        if _is_array(head, path):
            yield from _chunked(_elements(file, path), str(path), "row ")
        else:
            yield from _chunked(_lines(file, path), str(path))


def opened(path: Path) -> io.BufferedReader:
    """A file's bytes, decompressed by its name, counted on the way."""
    return io.BufferedReader(_Inflated(path), PEEK)


class _Inflated(io.RawIOBase):
    """Decompression that is refused above a limit: a bomb, not data."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, 0
        limit = RATIO_LIMIT * max(path.stat().st_size, 10_000)
        self.limit = min(SIZE_LIMIT, limit) if path.suffix in (".gz", ".zst") else None
        if path.suffix == ".zst":
            import pyarrow as pa

            self.stream: Any = pa.input_stream(str(path), compression="zstd")
        else:
            self.stream = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb", buffering=0)  # noqa: SIM115

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.stream.read(len(buffer))
        except EOFError:
            raise self._cut("gzip") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._damaged(f"not a gzip file: {error}") from None
        except OSError as error:
            if error.errno is not None or self.path.suffix != ".zst":
                raise
            raise (self._cut("zstd") if "runcated" in str(error) else self._damaged("not a zstd file")) from None
        self.seen += len(data)
        if self.limit is not None and self.seen > self.limit:
            says = f"the file inflates above the limit of {self.limit:,} bytes"
            raise InputError(says, where=str(self.path), do="check where it comes from; split it")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.stream.close()
        super().close()

    def _cut(self, kind: str) -> InputError:
        says = f"the {kind} file is cut off"
        return InputError(says, where=str(self.path), do="copy it again; the transfer was not complete")

    def _damaged(self, says: str) -> InputError:
        return InputError(says, where=str(self.path), do="compress it again")


def _require_json_text(head: bytes, path: Path) -> None:
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            packed = "compressed twice: inside is " if path.suffix in (".gz", ".zst") else "not JSON but "
            raise InputError(f"the file is {packed}{kind}", where=str(path), do="unpack it, or give it its own suffix")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        raise InputError(
            "the file is UTF-16 or UTF-32, not UTF-8",
            where=str(path),
            do="save it as UTF-8: `iconv -f UTF-16 -t UTF-8`",
        )


def _require_row_a_line(head: bytes, path: Path) -> None:
    """Raises InputError for one object that holds all rows, and for objects over several lines."""
    text = head.removeprefix(BOM).lstrip()
    wrapped = WRAPPED.match(text)
    if wrapped is not None:
        name = wrapped[1].decode()
        command = f"import json, sys; [print(json.dumps(row)) for row in json.load(sys.stdin)[{name!r}]]"
        do = f'write them a row a line: python3 -c "{command}" < FILE > rows.jsonl'
        raise InputError(f"the file is one JSON object with its rows in {name!r}", where=str(path), do=do)
    if text.startswith(b"{") and text.partition(b"\n")[0].strip() == b"{":
        raise InputError(
            "a row goes over several lines",
            where=str(path),
            do="write one row a line (json.dumps without indent), or all rows as one JSON array",
        )


def _is_array(head: bytes, path: Path) -> bool:
    """One JSON array of rows, not a row a line: by its first characters."""
    start = head.removeprefix(BOM).lstrip()
    inside = start[1:].lstrip()
    named = any(suffix == ".json" for suffix in path.suffixes[-2:])
    return start.startswith(b"[") and (named or not inside or inside.startswith((b"{", b"]")))


def _lines(file: io.BufferedReader, path: Path) -> Iterator[Item]:
    """Lines that are not blank, numbered; byte order mark and line ends (old Mac ones too) removed."""
    number = offset = 0
    for line in iter(lambda: file.readline(READ_LIMIT), b""):
        if len(line) == READ_LIMIT and not line.endswith(b"\n"):
            raise InputError(
                f"a line of more than {READ_LIMIT >> 20} MiB", where=f"{path}:{number + 1}", do="write one row a line"
            )
        start = offset
        for part in line.splitlines(keepends=True) if b"\r" in line else (line,):
            number += 1
            data = part.rstrip(b"\r\n")
            if number == 1 and data.startswith(BOM):
                data, start = data[len(BOM) :], start + len(BOM)
            if data.strip():
                yield Item(number, data, start)
            start += len(part)
        offset += len(line)


def _elements(file: io.BufferedReader, path: Path) -> Iterator[Item]:
    """The elements of an array, numbered."""
    for number, element in enumerate(array_elements(file, path), 1):
        yield Item(number, element, None)


def _chunked(items: Iterator[Item], path: str, unit: str = "") -> Iterator[TextChunk]:
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


def parse(text: str) -> dict[str, object] | BadRow:
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


def _unique(items: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(items)
    if len(found) < len(items):
        twice = next(name for name, count in Counter(name for name, _ in items).items() if count > 1)
        raise BadRow(f"key {twice[:40]!r} occurs twice")
    return found


def _no_constant(name: str) -> Never:
    raise BadRow(f"{name} is not a JSON number")

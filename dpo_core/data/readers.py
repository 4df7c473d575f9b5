"""Files of pairs: JSON lines (plain or gzip) and Parquet. A bad row is set aside, a bad file is refused.

Whatever happens, rows = pairs + quarantined.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpo_core.data.digests import digest_file
from dpo_core.data.formats import BadRow, MissingColumn, dropped_columns, format_of, to_pair
from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError

LINE_LIMIT = 1 << 20  # characters of one row
READ_LIMIT = 64 << 20  # bytes of one line, before it is looked at
SIZE_LIMIT = 4 << 30  # bytes of a decompressed file
RATIO_LIMIT = 1000  # decompressed to compressed: text reaches 20
EXCERPT = 2000  # characters of a bad row that the quarantine keeps
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Quarantined:
    """One row that cannot be used: where it is, why, and how it begins."""

    where: str
    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class ReadPairs:
    """A file's content: good rows, bad rows, and what was seen on the way."""

    pairs: list[Pair]
    quarantined: list[Quarantined]
    rows: int
    format: str
    sha256: str
    dropped_columns: dict[str, int] = field(default_factory=dict)


def read_pairs(path: str | Path) -> ReadPairs:
    """Read every row of a file of pairs. Raises InputError where the file as a whole cannot be used."""
    path = Path(path)
    _require_file(path)
    pairs: list[Pair] = []
    quarantined: list[Quarantined] = []
    formats, dropped, missing = Counter[str](), Counter[str](), Counter[str]()
    for line, raw, row in _rows(path):
        where = f"{path}:{line}" if path.suffix != ".parquet" else f"{path}:row {line}"
        try:
            if isinstance(row, BadRow):
                raise row
            pairs.append(to_pair(row, where))
            formats[format_of(row)] += 1
            dropped.update(dropped_columns(row))
        except BadRow as bad:
            quarantined.append(Quarantined(where, line, str(bad), raw[:EXCERPT]))
            missing[bad.column if isinstance(bad, MissingColumn) else ""] += 1
    rows = len(pairs) + len(quarantined)
    if not rows:
        raise InputError("the file has no rows", where=str(path), do="check the export that wrote it")
    if not pairs:
        raise _nothing_readable(path, quarantined, missing)
    return ReadPairs(pairs, quarantined, rows, " and ".join(sorted(formats)), digest_file(path), dict(dropped))


def _require_file(path: Path) -> None:
    if not path.exists():
        raise InputError("there is no such file", where=str(path), do="check the path")
    if path.is_dir():
        raise InputError(
            "this is a folder, not a file of pairs", where=str(path), do=f"name one file: {', '.join(SUFFIXES)}"
        )
    if not path.name.endswith(SUFFIXES):
        raise InputError(
            f"unknown kind of file {path.suffix or path.name!r}", where=str(path), do=f"use {', '.join(SUFFIXES)}"
        )
    if not path.stat().st_size:
        raise InputError("the file is empty", where=str(path), do="check the export that wrote it")


def _nothing_readable(path: Path, quarantined: list[Quarantined], missing: Counter[str]) -> InputError:
    first, rows = quarantined[0], len(quarantined)
    if len(missing) == 1 and "" not in missing:
        says = f"every row lacks a column: {first.reason}"
        return InputError(says, where=first.where, do="rename the column; README.md shows the shapes that are read")
    says = f"none of {rows} rows can be read; the first: {first.reason}"
    return InputError(says, where=first.where, do="README.md shows the shapes that are read")


def _rows(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | BadRow]]:
    """Line (or row) number from 1, raw text, and the row or what is wrong with it."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    for number, line in _lines(path):
        if line.strip():
            yield number, line, _parse(line)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of text, byte order mark and line ends removed. File faults are InputErrors."""
    compressed = path.stat().st_size
    seen = 0
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    try:
        with opened as file:
            for number, line in enumerate(iter(lambda: file.readline(READ_LIMIT), b""), 1):
                if number == 1:
                    _require_utf8_text(line, path)
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if len(line) == READ_LIMIT and not line.endswith(b"\n"):
                    raise InputError(
                        f"a line of more than {READ_LIMIT >> 20} MiB",
                        where=f"{path}:{number}",
                        do="write one row a line",
                    )
                seen += len(line)
                if seen > SIZE_LIMIT or (path.suffix == ".gz" and seen > RATIO_LIMIT * max(compressed, 10_000)):
                    raise InputError(
                        "the file inflates beyond all measure",
                        where=f"{path}:{number}",
                        do="check where it comes from; split it",
                    )
                yield number, _decode(line, path, number, seen)
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"not a gzip file: {error}", where=str(path), do="compress it again") from None
    except EOFError:
        raise InputError(
            "the gzip file is cut off", where=str(path), do="copy it again; the transfer was not complete"
        ) from None


def _require_utf8_text(line: bytes, path: Path) -> None:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line[:4]:
        raise InputError(
            "the file is UTF-16 or UTF-32, not UTF-8",
            where=str(path),
            do="save it as UTF-8: `iconv -f UTF-16 -t UTF-8`",
        )


def _decode(line: bytes, path: Path, number: int, seen: int) -> str:
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        offset = seen - len(line) + error.start
        says = f"not UTF-8 text: byte 0x{line[error.start]:02x} at offset {offset}"
        raise InputError(says, where=f"{path}:{number}", do="save the file as UTF-8") from None


def _parse(line: str) -> dict[str, Any] | BadRow:
    if len(line) > LINE_LIMIT:
        return BadRow(f"the row has {len(line):,} characters, more than {LINE_LIMIT:,}")
    try:
        row = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
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
        raise BadRow(f"key {twice!r} occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise BadRow(f"{name} is not a JSON number")


def _parquet_rows(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, json.dumps(row, default=str)[:EXCERPT], _as_json(row)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"not a readable Parquet file: {reason}", where=str(path), do="write it again") from None


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    """The row as a JSON file would hold it: no null for what it does not have, times of `meta` as text."""
    if row.get("meta") is not None:
        row["meta"] = json.loads(json.dumps(row["meta"], default=str))
    optional = ("source", "sft_weight", "meta", "prompt", *_OPTIONAL_IMAGES)
    return {name: value for name, value in row.items() if value is not None or name not in optional}


_OPTIONAL_IMAGES = ("image", "images")

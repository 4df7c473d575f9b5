"""Parquet and Arrow files (Hugging Face `save_to_disk` included), a batch of rows at a time."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import ROWS
from dpo_core.data.shapes import COLUMNS, SHAPES
from dpo_core.data.text_files import RawRow
from dpo_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_LIMIT = 8 << 30  # bytes of a row group once decoded
NULLABLE = ("chosen", "rejected", "completions", "contents", "conversations")  # a null is named, not called missing
MAGIC = b"ARROW1"  # an Arrow file; an Arrow stream begins otherwise


@dataclass(frozen=True)
class BatchChunk:
    """Rows of one batch. Rows count from 1, as lines do; row groups and batches from 0, as Arrow's tools count."""

    path: str
    place: str  # "row group 0", "batch 0"
    first_in_place: int
    first: int  # number of the first row in the file
    batch: "pa.RecordBatch"
    dropped: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Iterator[RawRow]:
        """See Chunk."""
        with _readable(Path(self.path)):
            rows = self.batch.to_pylist()
        for at, row in enumerate(rows):
            where = f"{self.path}:row {self.first_in_place + at} in {self.place}"
            yield RawRow(where, self.first + at, None, as_json(row))


def parquet_chunks(path: Path) -> Iterator[BatchChunk]:
    """The rows of a Parquet file, only the columns that some shape reads."""
    import pyarrow.parquet as pq

    with _readable(path), pq.ParquetFile(path) as file:
        columns, unread = _columns(file.schema_arrow, path)
        number = 1
        for group in range(file.num_row_groups):
            if file.metadata.row_group(group).total_byte_size > GROUP_LIMIT:
                raise InputError(
                    f"row group {group} has more than {GROUP_LIMIT >> 30} GiB",
                    where=str(path),
                    do="write it with smaller row groups",
                )
            inside = 1
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=columns):
                yield BatchChunk(str(path), f"row group {group}", inside, number, batch, _times(unread, len(batch)))
                inside, number = inside + len(batch), number + len(batch)


def arrow_chunks(path: Path) -> Iterator[BatchChunk]:
    """The rows of an Arrow file or stream, memory-mapped."""
    import pyarrow as pa

    with _readable(path), pa.memory_map(str(path)) as file:
        whole = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        reader = pa.ipc.open_file(file) if whole else pa.ipc.open_stream(file)
        columns, unread = _columns(reader.schema, path)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if whole else iter(reader)
        number = 1
        for place, batch in enumerate(batches):
            for start in range(0, len(batch), ROWS):
                part = batch.slice(start, ROWS).select(columns)
                yield BatchChunk(str(path), f"batch {place}", start + 1, number, part, _times(unread, len(part)))
                number += len(part)


def as_json(row: dict[str, Any]) -> dict[str, Any] | BadRow:
    """The row as a JSON file would hold it: what is null was not there, times of `meta` are text."""
    if row.get("meta") is not None:
        try:
            row["meta"] = json.loads(json.dumps(row["meta"], default=str))
        except (ValueError, TypeError, RecursionError) as error:
            return BadRow(f"meta is no JSON: {error}")
    return {name: value for name, value in row.items() if value is not None or name in NULLABLE}


def _columns(schema: "pa.Schema", path: Path) -> tuple[list[str], list[str]]:
    """Columns to read and those to leave. Raises InputError for values that are not plain data."""
    import pyarrow as pa

    if len(set(schema.names)) < len(schema.names):
        raise InputError("two columns have the same name", where=str(path), do="rename one of them")
    read = [field for field in schema if field.name in COLUMNS]
    for field_ in read:
        kind = field_.type
        strange = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
        if strange or not _extension_of(field_).startswith("arrow."):
            raise InputError(
                f"column {field_.name!r} holds {kind if strange else _extension_of(field_)}, not text or messages",
                where=str(path),
                do="write it as text, numbers, lists and structs",
            )
    names = {field_.name for field_ in read}
    if not any(names.issuperset(shape.needs) for shape in SHAPES):
        return schema.names, []  # what is misspelt must be seen, to be named
    return [name for name in schema.names if name in names], [name for name in schema.names if name not in names]


def _extension_of(field: "pa.Field") -> str:
    """The name of a column's extension type, whether or not this process knows it; Arrow's own begin with `arrow.`."""
    kind = (field.metadata or {}).get(b"ARROW:extension:name", b"arrow.none").decode(errors="replace")
    return str(getattr(field.type, "extension_name", kind))


def _times(columns: list[str], rows: int) -> Counter[str]:
    return Counter(dict.fromkeys(columns, rows))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Faults of the file as InputErrors."""
    import pyarrow as pa

    kind = "Parquet" if path.suffix == ".parquet" else "Arrow"
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, pa.ArrowException):
            raise
        reason = str(error).partition("\n")[0]
        raise InputError(f"not a readable {kind} file: {reason}", where=str(path), do="write it again") from None

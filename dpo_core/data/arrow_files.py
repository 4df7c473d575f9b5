"""Parquet and Arrow files (Hugging Face `save_to_disk` included), a batch of rows at a time.

A few bytes of such a file can stand for gigabytes: compressed, as a dictionary, or as one value and its count. So what
a row group, a batch and a row would take is looked up before they are decoded.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_core.data.arrow_sizes import inflated_sizes, odd_type, row_sizes
from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import ROWS
from dpo_core.data.questions import asks_in_columns
from dpo_core.data.shapes import COLUMNS, SHAPES
from dpo_core.data.text_files import BYTES, LINE_LIMIT, RawRow
from dpo_core.data.unread import UnreadColumns
from dpo_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_LIMIT = 2 << 30  # bytes of a row group, or of a batch, once inflated
RATIO_LIMIT = 1000  # what all rows take to the size of the file: text that repeats itself as a dictionary reaches 100
BATCH_LIMIT = 1 << 30  # bytes of the rows that are decoded at once
LEAST = 64 << 20  # bytes that a file of any size may take
NULLABLE = ("chosen", "rejected", "completions", "contents", "conversations", "system")  # a null is not called missing
MAGIC = b"ARROW1"  # an Arrow file; an Arrow stream begins otherwise


@dataclass(frozen=True)
class BatchChunk:
    """Rows of one batch. Rows count from 1, as lines do; row groups and batches from 0, as Arrow's tools count."""

    path: str
    place: str  # "row group 0", "batch 0"
    first_in_place: int
    first: int  # number of the first row in the file
    batch: "pa.RecordBatch"
    unread: UnreadColumns = field(default_factory=UnreadColumns)

    def __len__(self) -> int:
        """See Chunk."""
        return len(self.batch)

    def rows(self) -> Iterator[RawRow]:
        """See Chunk. A row that is too large is not decoded."""
        sizes = row_sizes(self.batch)
        large = bool(len(sizes)) and int(sizes.max()) > LINE_LIMIT
        for start, part in (
            ((n, self.batch.slice(n, 1)) for n in range(len(self.batch))) if large else [(0, self.batch)]
        ):
            if large and sizes[start] > LINE_LIMIT:
                rows: list[Any] = [BadRow(f"the row has {sizes[start]:,} bytes, more than {LINE_LIMIT:,}")]
            else:
                with _readable(Path(self.path)):
                    rows = [as_json(row) for row in part.to_pylist()]
            for at, row in enumerate(rows, start):
                where = f"{self.path}:row {self.first_in_place + at} in {self.place}"
                yield RawRow(where, self.first + at, "" if isinstance(row, BadRow) else None, row)


class _Allowance:
    """What the rows of a file may take in all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.limit = max(RATIO_LIMIT * path.stat().st_size, LEAST)
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises InputError where too much is taken."""
        self.taken += size
        if self.taken > self.limit:
            says = f"the file inflates above the limit of {self.limit:,} bytes"
            raise InputError(says, where=str(self.path), do="check where it comes from; split it")


def parquet_chunks(path: Path) -> Iterator[BatchChunk]:
    """The rows of a Parquet file, only the columns that some shape reads."""
    import pyarrow.parquet as pq

    with _readable(path), pq.ParquetFile(path) as file:
        columns, unread = _columns(file.schema_arrow, path)
        allowance, number = _Allowance(path), 1
        for group in range(file.num_row_groups):
            _require_small(file.metadata.row_group(group), f"row group {group}", allowance)
            _take_encoded(file, group, columns, allowance)
            seen = _seen(next(file.iter_batches(ROWS, row_groups=[group], columns=unread), None), unread)
            inside = 1
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=columns):
                for part in _parts(batch):
                    yield BatchChunk(str(path), f"row group {group}", inside, number, part, seen.of(len(part)))
                    inside, number = inside + len(part), number + len(part)


def _take_encoded(file: "pa.parquet.ParquetFile", group: int, columns: list[str], allowance: "_Allowance") -> None:
    """Take what a row group's rows will be, from their dictionaries and counts: looked at before they are decoded."""
    import pyarrow.parquet as pq

    schema = file.metadata.schema
    texts = [schema.column(n).path for n in range(len(schema)) if schema.column(n).physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(allowance.path, read_dictionary=texts) as encoded:
        for batch in encoded.iter_batches(ROWS, row_groups=[group], columns=columns):
            size = int(row_sizes(batch).sum())
            _require_below(size, f"{len(batch)} rows of row group {group}", allowance.path, BATCH_LIMIT)
            allowance.take(size)


def arrow_chunks(path: Path) -> Iterator[BatchChunk]:
    """The rows of an Arrow file or stream, memory-mapped."""
    import pyarrow as pa

    allowance = _Allowance(path)
    with _readable(path), pa.memory_map(str(path)) as file:
        whole = file.read(len(MAGIC)) == MAGIC
        for size in inflated_sizes(file, 8 if whole else 0):
            _require_below(size, "a batch", path)
        file.seek(0)
        reader = pa.ipc.open_file(file) if whole else pa.ipc.open_stream(file)
        columns, unread = _columns(reader.schema, path)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if whole else iter(reader)
        number = 1
        for place, batch in enumerate(batches):
            allowance.take(int(row_sizes(batch.select(columns)).sum()))
            seen, inside = _seen(batch, unread), 1
            for start in range(0, len(batch), ROWS):
                for part in _parts(batch.slice(start, ROWS).select(columns)):
                    yield BatchChunk(str(path), f"batch {place}", inside, number, part, seen.of(len(part)))
                    inside, number = inside + len(part), number + len(part)


def _require_small(group: "pa.parquet.RowGroupMetaData", place: str, allowance: _Allowance) -> None:
    """A row group's columns as its footer tells them, before any is read."""
    columns = [group.column(n) for n in range(group.num_columns)]
    _require_below(sum(max(c.total_uncompressed_size, c.num_values) for c in columns), place, allowance.path)
    if sum(c.total_uncompressed_size for c in columns) > allowance.limit:
        allowance.take(allowance.limit + 1)


def _require_below(size: int, place: str, path: Path, limit: int = GROUP_LIMIT) -> None:
    if size > limit:
        says = f"{place} have more than {limit >> 30} GiB"
        raise InputError(says, where=str(path), do="write it with smaller row groups or batches, and shorter texts")


def _parts(batch: "pa.RecordBatch") -> Iterator["pa.RecordBatch"]:
    """A batch in pieces of about BYTES bytes, whatever its rows take."""
    start = taken = 0
    for at, size in enumerate(row_sizes(batch).tolist()):
        if at > start and taken + size > BYTES:
            yield batch.slice(start, at - start)
            start, taken = at, 0
        taken += min(size, LINE_LIMIT)
    if start < len(batch):
        yield batch.slice(start)


def _seen(batch: "pa.RecordBatch | None", unread: list[str]) -> UnreadColumns:
    """Columns that are not read, and what the first few rows hold in them."""
    found = UnreadColumns()
    if batch is None or not unread:
        return found
    part = batch.select(unread).slice(0, ROWS)
    for row in BatchChunk("", "", 1, 1, part).rows():
        if isinstance(row.row, dict):
            found.see(row.row, frozenset())
    return found


def as_json(row: dict[str, object]) -> dict[str, object] | BadRow:
    """The row as a JSON file would hold it: what is null was not there, times of `meta` are text."""
    if row.get("meta") is not None:
        try:
            row["meta"] = json.loads(json.dumps(row["meta"], default=str))
        except (ValueError, TypeError, RecursionError) as error:
            return BadRow(f"meta is no JSON: {error}")
    return {name: value for name, value in row.items() if value is not None or name in NULLABLE}


def _columns(schema: "pa.Schema", path: Path) -> tuple[list[str], list[str]]:
    """Columns to read and those to leave. Raises InputError for values that are not plain data."""
    if len(set(schema.names)) < len(schema.names):
        raise InputError("two columns have the same name", where=str(path), do="rename one of them")
    names = {name for name in schema.names if name in COLUMNS}
    if not any(names.issuperset(shape.needs) for shape in SHAPES) and not asks_in_columns({n: [] for n in names}):
        names = set(schema.names)  # what is misspelt must be seen, to be named
    for field_ in schema:
        odd = odd_type(field_) if field_.name in names else ""
        if odd:
            raise InputError(
                f"column {field_.name!r} holds {odd}, not text or messages",
                where=str(path),
                do="write it as text, numbers, lists and structs",
            )
    plain = [field_.name for field_ in schema if not odd_type(field_)]
    return [n for n in schema.names if n in names], [n for n in plain if n not in names]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Faults of the file as InputErrors."""
    import pyarrow as pa

    kind = "Parquet" if path.suffix == ".parquet" else "Arrow"
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, pa.ArrowException):
            raise
        reason = str(error).partition("\n")[0]
        raise InputError(f"not a readable {kind} file: {reason}", where=str(path), do="write it again") from None

"""What Arrow's rows and batches take once they are inflated and decoded, found without doing it."""

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

LEAST = 8  # bytes of a value in Python, and more
MOST_VALUES = 1 << 26  # of a list column of one batch: beyond, they are counted and not looked at


def odd_type(field: "pa.Field") -> str:
    """The type of a column that is not plain data, in words; empty for text, numbers, times, lists and structs."""
    name = (field.metadata or {}).get(b"ARROW:extension:name", b"arrow.none").decode(errors="replace")
    extension = str(getattr(field.type, "extension_name", name))  # whether or not this process knows it
    return extension if not extension.startswith("arrow.") else _odd(field.type)


def _odd(kind: "pa.DataType") -> str:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _odd(kind.value_type)
    if types.is_struct(kind):
        return next((odd for n in range(kind.num_fields) if (odd := odd_type(kind.field(n)))), "")
    if types.is_map(kind):
        return _odd(kind.key_type) or _odd(kind.item_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return odd_type(kind.value_field)
    text = types.is_string(kind) or types.is_large_string(kind)
    return "" if text or types.is_primitive(kind) or types.is_null(kind) or types.is_decimal(kind) else str(kind)


def row_sizes(batch: "pa.RecordBatch") -> NDArray[np.int64]:
    """Bytes of each row: of its texts, and LEAST for every value."""
    sizes = np.zeros(len(batch), dtype=np.int64)
    for column in batch.columns:
        sizes += _sizes(column)
    return sizes


def _sizes(array: "pa.Array") -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    kind = array.type
    if types.is_string(kind) or types.is_large_string(kind):
        return _numbers(pc.binary_length(array)) + LEAST
    if types.is_dictionary(kind):
        of_values = np.append(_sizes(array.dictionary), LEAST)
        places = _numbers(array.indices, -1)
        return np.asarray(of_values[np.where((places < 0) | (places >= len(of_values)), -1, places)])
    if types.is_struct(kind):
        inside = [_sizes(part) for part in array.flatten()]
        return np.asarray(sum(inside, np.full(len(array), LEAST, dtype=np.int64)))
    if types.is_fixed_size_list(kind):
        offsets = np.arange(len(array) + 1, dtype=np.int64) * kind.list_size
        return _of_lists(array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size), offsets)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        offsets = np.asarray(array.offsets).astype(np.int64)
        values = (
            pa.StructArray.from_arrays([array.keys, array.items], ["k", "v"]) if types.is_map(kind) else array.values
        )
        return _of_lists(values.slice(offsets[0], offsets[-1] - offsets[0]), offsets - offsets[0])
    return np.full(len(array), LEAST, dtype=np.int64)


def _of_lists(values: "pa.Array", offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.diff(offsets) * LEAST + LEAST
    if offsets[-1] > MOST_VALUES:
        return np.asarray(counts)
    ends = np.concatenate([[0], np.cumsum(_sizes(values))])
    return np.asarray(counts + ends[offsets[1:]] - ends[offsets[:-1]])


def _numbers(array: "pa.Array", null: int = 0) -> NDArray[np.int64]:
    return np.asarray(array.fill_null(null) if array.null_count else array).astype(np.int64)


def inflated_sizes(file: "pa.NativeFile", start: int) -> Iterator[int]:
    """Bytes of each batch of an Arrow file or stream whose messages begin at `start`, once it is inflated.

    A compressed buffer begins with its length (the format's description, "compression"); where the buffers lie is in
    the message's FlatBuffers table, which pyarrow does not show.
    """
    import pyarrow as pa

    file.seek(start)
    messages = pa.ipc.MessageReader.open_stream(file)
    while True:
        try:
            message = messages.read_next_message()
        except (StopIteration, EOFError):
            return
        if message.body is not None:
            yield _inflated(memoryview(message.metadata), memoryview(message.body))


def _inflated(metadata: memoryview, body: memoryview) -> int:
    """Bytes of a record batch's or dictionary batch's buffers."""
    try:
        table = _field(metadata, _at(metadata, 0), 2)  # Message.header
        kind = _scalar(metadata, _at(metadata, 0), 1)  # Message.header_type: 2 dictionary batch, 3 record batch
        table = _at(metadata, table) if table else 0
        if kind == 2 and table:
            inner = _field(metadata, table, 1)  # DictionaryBatch.data
            table = _at(metadata, inner) if inner else 0
        buffers, compressed = (_field(metadata, table, n) if table else 0 for n in (2, 3))
        if kind not in (2, 3) or not buffers or not compressed:
            return len(body)
        vector = _at(metadata, buffers)
        (count,) = struct.unpack_from("<I", metadata, vector)
        total = 0
        for offset, length in struct.iter_unpack("<qq", metadata[vector + 4 : vector + 4 + 16 * count]):
            if length >= 8:
                (size,) = struct.unpack_from("<q", body, offset)
                total += max(size, length)
        return total
    except (struct.error, IndexError):
        return len(body)  # broken: what reads it says so


def _at(data: memoryview, place: int) -> int:
    """Where the offset at `place` leads."""
    return place + int(struct.unpack_from("<I", data, place)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """The place of a table's field; 0 if it is not set."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    (size,) = struct.unpack_from("<H", data, vtable)
    entry = 4 + 2 * number
    offset = int(struct.unpack_from("<H", data, vtable + entry)[0]) if entry + 2 <= size else 0
    return table + offset if offset else 0


def _scalar(data: memoryview, table: int, number: int) -> int:
    place = _field(data, table, number)
    return data[place] if place else 0

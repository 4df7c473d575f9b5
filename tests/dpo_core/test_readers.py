import gzip
import json
from datetime import datetime

import pytest

from dpo_core.data.readers import READ_LIMIT, read_pairs
from dpo_core.errors import InputError

ROW = {"prompt": "a", "chosen": "b", "rejected": "c"}


def lines(*rows):
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.parquet"])
def test_a_row_is_the_same_from_every_kind_of_file(tmp_path, name):
    rows = [
        {**ROW, "source": "s"},
        {
            "prompt": [{"role": "user", "content": "u"}],
            "chosen": [{"role": "assistant", "content": "x"}],
            "rejected": [{"role": "assistant", "content": "y"}],
        },
    ]
    path = tmp_path / name
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows[1:]), path)
        rows = rows[1:]
    else:
        data = lines(*rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    plain = tmp_path / "same.jsonl"
    plain.write_text(lines(*rows))
    assert [pair.id for pair in read_pairs(path).pairs] == [pair.id for pair in read_pairs(plain).pairs]


def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text(lines(ROW, {**ROW, "prompt": "z"}))
    two.write_bytes(b"\xef\xbb\xbf" + one.read_bytes().replace(b"\n", b"\r\n"))
    assert [p.id for p in read_pairs(one).pairs] == [p.id for p in read_pairs(two).pairs]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"prompt": "a",', "invalid JSON at column 16: Expecting property name enclosed in double quotes"),
        ('{"prompt": "a", "prompt": "b", "chosen": "c", "rejected": "d"}', "key 'prompt' occurs twice"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c", "sft_weight": NaN}', "NaN is not a JSON number"),
        ("[1, 2]", "the row is not a JSON object"),
        ("[" * 100_000, "invalid JSON: nested too deeply"),
        ('{"prompt": "' + "x" * (1 << 20) + '"}', "the row has 1,048,590 characters, more than 1,048,576"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_number_and_the_rest_is_kept(tmp_path, bad, reason):
    path = tmp_path / "p.jsonl"
    path.write_text(lines(ROW, "", bad, {**ROW, "prompt": "z"}))
    read = read_pairs(path)
    assert [pair.where for pair in read.pairs] == [f"{path}:1", f"{path}:4"]
    assert [(q.line, q.where, q.reason) for q in read.quarantined] == [(3, f"{path}:3", reason)]
    assert read.rows == 3
    assert len(read.quarantined[0].row) <= 2000


def refused(path):
    with pytest.raises(InputError) as caught:
        read_pairs(path)
    return caught.value.says, caught.value.where


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("p.jsonl", b"", "the file is empty"),
        ("p.jsonl", b"\n \n", "the file has no rows"),
        ("p.jsonl", lines(ROW).encode("utf-16"), "the file is UTF-16 or UTF-32, not UTF-8"),
        ("p.csv", b"a,b", "unknown kind of file '.csv'"),
        ("p.jsonl.gz", b"no gzip at all", "not a gzip file: Not a gzipped file (b'no')"),
        ("p.jsonl.gz", gzip.compress(lines(ROW).encode() * 50)[:-20], "the gzip file is cut off"),
        (
            "p.jsonl",
            b'{"prompt": 1}\n{"prompt": 2}\n',
            "every row lacks a column: missing column 'chosen'; the row has prompt",
        ),
        (
            "p.jsonl",
            b"{\n[]\n",
            "none of 2 rows can be read; the first: invalid JSON at column 2: "
            "Expecting property name enclosed in double quotes",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    assert refused(path)[0] == says
    assert str(path) in refused(path)[1]


def test_bytes_that_are_no_text_are_found_by_line_and_offset(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(lines(ROW).encode() + '{"prompt": "café"}\n'.encode("latin-1"))
    offset = len(lines(ROW)) + len('{"prompt": "caf')
    assert refused(path) == (f"not UTF-8 text: byte 0xe9 at offset {offset}", f"{path}:2")


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 60_000_000))
    assert refused(path)[0] == "the file inflates beyond all measure"


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    assert refused(tmp_path / "none.jsonl")[0] == "there is no such file"
    assert refused(tmp_path)[0] == "this is a folder, not a file of pairs"


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "p.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    assert refused(path)[0].startswith("not a readable Parquet file")


def test_a_parquet_column_of_broken_text_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    two_bytes = [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    path = tmp_path / "p.parquet"
    pq.write_table(
        pa.table({**{k: [v] for k, v in ROW.items()}, "chosen": pa.Array.from_buffers(pa.string(), 1, two_bytes)}), path
    )
    assert refused(path)[0] == (
        "not a readable Parquet file: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    )


def test_a_time_in_the_meta_of_a_parquet_row_becomes_text(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "p.parquet"
    pq.write_table(pa.Table.from_pylist([{**ROW, "meta": {"at": datetime(2024, 5, 6, 7, 8)}}]), path)
    assert read_pairs(path).pairs[0].meta == {"at": "2024-05-06 07:08:00"}


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "p.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt": "')
        file.truncate(READ_LIMIT + 10)  # a hole: no bytes on disk
    assert refused(path) == ("a line of more than 64 MiB", f"{path}:1")


def test_columns_that_nobody_reads_are_counted(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines({**ROW, "score": 1}, {**ROW, "prompt": "z", "score": 2, "extra": 0}))
    assert read_pairs(path).dropped_columns == {"score": 2, "extra": 1}

import gzip
import json
from datetime import datetime

import pytest

from dpo_core.data.json_arrays import READ_LIMIT
from dpo_core.data.readers import read_pairs
from dpo_core.errors import InputError

ROW = {"prompt": "a", "chosen": "b", "rejected": "c"}


def lines(*rows):
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


SPOKEN = {
    "prompt": [{"role": "user", "content": "u"}],
    "chosen": [{"role": "assistant", "content": "x"}],
    "rejected": [{"role": "assistant", "content": "y"}],
    "source": "s",
}


def write_every_kind(folder, rows):
    """The same rows in every kind of file; by name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, array, table = lines(*rows).encode(), json.dumps(rows, indent=1).encode(), pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "p.parquet", row_group_size=2)
    with pa.ipc.new_file(folder / "p.arrow", table.schema) as file:
        file.write(table)
    with pa.ipc.new_stream(folder / "stream.arrow", table.schema) as file:
        file.write(table)
    for name, data in (("p.jsonl", text), ("p.json", array), ("lines.json", text), ("array.jsonl", array)):
        (folder / name).write_bytes(data)
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        (folder / f"{name}.zst").write_bytes(pa.compress(data, codec="zstd", asbytes=True))
    return sorted(path.name for path in folder.iterdir())


def test_a_row_is_the_same_from_every_kind_of_file(tmp_path):
    rows = [{**SPOKEN, "source": str(number)} for number in range(5)]
    names = write_every_kind(tmp_path, rows)
    assert len(names) == 15
    ids = {name: [pair.id for pair in read_pairs(tmp_path / name).pairs] for name in names}
    assert len(set(ids["p.jsonl"])) == 5
    assert {name: found == ids["p.jsonl"] for name, found in ids.items()} == dict.fromkeys(names, True)


@pytest.mark.parametrize(
    ("name", "third"),
    [("p.jsonl", ":3"), ("p.json", ":row 3"), ("p.parquet", ":row 1 in row group 1"), ("p.arrow", ":row 3 in batch 0")],
)
def test_a_row_is_named_by_its_place_in_the_file(tmp_path, name, third):
    write_every_kind(tmp_path, [SPOKEN] * 5)
    assert read_pairs(tmp_path / name).pairs[2].where == f"{tmp_path}/{name}{third}"


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


TWICE = gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("p.jsonl", b"", "the file is empty"),
        ("p.jsonl", b"\n \n", "the file has no rows"),
        ("p.jsonl", lines(ROW).encode("utf-16"), "the file is UTF-16 or UTF-32, not UTF-8"),
        ("p.csv", b"a,b", "unknown kind of file '.csv'"),
        ("p.tar.gz", b"a,b", "unknown kind of file '.gz'"),
        ("p.json", b"[", "the JSON array breaks off"),
        ("p.json", b'[{"a": 1}, 2', "the JSON array breaks off"),
        ("p.json", b'[{"a": [1}]', "the JSON array breaks off"),
        ("p.json", b'[{"a": 1}] []', "something follows the array"),
        ("p.json", b"[]", "the file has no rows"),
        ("p.jsonl.zst", b"no zstd at all", "not a zstd file"),
        ("p.jsonl.gz", TWICE, "the file is compressed twice: inside is gzip data"),
        ("p.jsonl.gz", gzip.compress(b"PK\3\4../x", mtime=0), "the file is compressed twice: inside is a ZIP archive"),
        ("p.jsonl", gzip.compress(b"{}", mtime=0), "the file is not JSON but gzip data"),
        ("p.jsonl", b"PAR1", "the file is not JSON but a Parquet file"),
        ("p.jsonl.gz", b"no gzip at all", "not a gzip file: Not a gzipped file (b'no')"),
        ("p.jsonl.gz", gzip.compress(lines(ROW).encode() * 50, mtime=0)[:-20], "the gzip file is cut off"),
        (
            "p.jsonl",
            b'{"prompt": 1}\n{"prompt": 2}\n',
            "every row lacks a column: missing column 'chosen'; the row has prompt",
        ),
        (
            "p.jsonl",
            b"{]\n[]\n",
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


@pytest.mark.parametrize("name", ["p.jsonl", "p.json"])
def test_a_row_that_is_no_text_is_set_aside_with_byte_and_place(tmp_path, name):
    good, bad = json.dumps(ROW).encode(), '{"prompt": "café"}'.encode("latin-1")
    path = tmp_path / name
    path.write_bytes(b"[%s,%s,%s]" % (good, bad, good) if name == "p.json" else b"\n".join([good, bad, good]))
    read = read_pairs(path)
    place = "at byte 15 of the row" if name == "p.json" else f"at offset {len(good) + 1 + 15}"
    assert [(q.line, q.reason) for q in read.quarantined] == [(2, f"not UTF-8 text: byte 0xe9 {place}")]
    assert len(read.pairs) == 2


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 60_000_000))
    limit = 200 * path.stat().st_size
    assert refused(path)[0] == f"the file inflates above the limit of {limit:,} bytes"


def test_a_zstd_bomb_and_a_cut_zstd_file_are_refused(tmp_path):
    import pyarrow as pa

    path = tmp_path / "p.jsonl.zst"
    path.write_bytes(pa.compress(b" " * 60_000_000, codec="zstd", asbytes=True))
    assert refused(path)[0] == "the file inflates above the limit of 2,000,000 bytes"
    path.write_bytes(pa.compress(lines(ROW).encode() * 50, codec="zstd", asbytes=True)[:-5])
    assert refused(path)[0] == "the zstd file is cut off"


def test_old_mac_line_ends_are_line_ends(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(lines(ROW, {**ROW, "prompt": "z"}).encode().replace(b"\n", b"\r"))
    assert [pair.where for pair in read_pairs(path).pairs] == [f"{path}:1", f"{path}:2"]


def test_text_after_messages_is_set_aside_and_named(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines(SPOKEN, ROW, {**SPOKEN, "source": "t"}))
    read = read_pairs(path)
    assert [(q.line, q.reason) for q in read.quarantined] == [
        (2, f"the row is plain text, but the rows before it are messages (the first: {path}:1)")
    ]
    assert len(read.pairs) == 2


def test_an_element_of_an_array_that_is_no_json_costs_itself_alone(tmp_path):
    path = tmp_path / "p.json"
    deep = "[" * 5000 + "]" * 5000
    path.write_text("[" + ",\n".join([json.dumps(ROW), "{'prompt': 'a',}", deep, json.dumps(ROW)]) + "]")
    read = read_pairs(path)
    assert [(q.where, q.reason.partition(":")[0]) for q in read.quarantined] == [
        (f"{path}:row 2", "invalid JSON at column 2"),
        (f"{path}:row 3", "invalid JSON"),
    ]
    assert len(read.pairs) == 2


def test_an_array_of_many_megabytes_is_read_in_windows(tmp_path, monkeypatch):
    monkeypatch.setattr("dpo_core.data.json_arrays.BLOCK", 7)
    path = tmp_path / "p.json"
    rows = [{**ROW, "prompt": "é" * number} for number in range(1, 40)]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=2))
    assert [len(pair.prompt[0]["content"]) for pair in read_pairs(path).pairs] == list(range(1, 40))


def test_a_missing_file_is_named(tmp_path):
    assert refused(tmp_path / "none.jsonl")[0] == "there is no such file"


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
    assert refused(path) == ("a line of more than 16 MiB", f"{path}:1")


def test_columns_that_nobody_reads_are_counted(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines({**ROW, "score": 1}, {**ROW, "prompt": "z", "score": 2, "extra": 0}))
    assert read_pairs(path).dropped_columns == {"score": 2, "extra": 1}

"""Small files that would take gigabytes, and rows that would take minutes: refused or set aside, with the limit."""

import json
import subprocess
import sys

import pytest

from dpo_core.data.json_arrays import READ_LIMIT
from dpo_core.data.readers import read_pairs
from dpo_core.data.reasons import MOST as MOST_REASONS
from dpo_core.data.unread import MOST
from dpo_core.errors import InputError
from dpo_core.quality.text.redaction import redact

ROW = {"prompt": "Where is the sea?", "chosen": "Down the hill.", "rejected": "Up in the air."}
LARGE = 3 << 19  # bytes of one text


def table(pa, **columns):
    return pa.table({**{name: [text] * 1000 for name, text in ROW.items()}, **columns})


def parquet(path, data, **options):
    import pyarrow.parquet as pq

    pq.write_table(data, path, compression="zstd", **options)


def arrow(path, data, **options):
    import pyarrow as pa

    with pa.ipc.new_file(path, data.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
        file.write(data)


def coded(pa, value, rows=1000):
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


def nested(pa, value, rows=1000):
    """One message a row, all with the same content."""
    contents = pa.StructArray.from_arrays([coded(pa, "assistant", rows), coded(pa, value, rows)], ["role", "content"])
    return pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), contents)


def make_bombs(folder):
    """A file of each kind of bomb, none larger than a few hundred KiB."""
    import pyarrow as pa

    text = "a" * LARGE
    options = {"dictionary_pagesize_limit": 2 * LARGE, "data_page_size": 2 * LARGE}
    parquet(folder / "dictionary.parquet", table(pa, chosen=coded(pa, text)), **options)
    parquet(folder / "nested.parquet", table(pa, chosen=nested(pa, text)), **options)
    parquet(folder / "pages.parquet", table(pa, chosen=pa.array([text] * 300 + ["b"] * 700)), use_dictionary=False)
    parquet(folder / "unread.parquet", table(pa, extra=coded(pa, text)), **options)
    arrow(folder / "dictionary.arrow", table(pa, chosen=coded(pa, text)), compression="zstd")
    arrow(folder / "nested.arrow", table(pa, chosen=nested(pa, text)), compression="zstd")
    arrow(folder / "buffers.arrow", table(pa, chosen=pa.array([text] * 300 + ["b"] * 700)), compression="zstd")
    nulls = pa.ListArray.from_arrays(pa.array([0] * 1000 + [1 << 30], pa.int32()), pa.nulls(1 << 30))
    arrow(folder / "nulls.arrow", table(pa, chosen=nulls), compression="zstd")


READ = """
import resource, sys
from pathlib import Path
import pyarrow.parquet, pyarrow.compute
from dpo_core.data.readers import read_pairs
from dpo_core.errors import InputError
from tests.dpo_core.data.test_bombs import make_bombs
make_bombs(Path(sys.argv[1]))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))
for path in sorted(Path(sys.argv[1]).iterdir()):
    assert path.stat().st_size < 1 << 20, path
    try:
        read = read_pairs(path)
        reasons = {row.reason.partition(",")[0] for row in read.quarantined}
        print(path.name, len(read.pairs), sorted(reasons)[:2], sep="|")
    except InputError as error:
        print(path.name, error.says, bool(error.where and error.do), sep="|")
"""


def test_no_small_file_takes_gigabytes(tmp_path):
    """In a process of its own, as the claim is about its memory: what it makes itself, and 1 GiB more."""
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    told = dict(line.split("|", 1) for line in done.stdout.splitlines())
    limit = "inflates above the limit of"
    assert told.keys() == {path.name for path in tmp_path.iterdir()}
    for name in ("pages.parquet", "buffers.arrow", "dictionary.arrow", "nested.arrow"):
        assert limit in told[name] or "have more than" in told[name], told[name]
    for name in ("dictionary.parquet", "nested.parquet"):
        assert limit in told[name] or "have more than" in told[name], told[name]
    assert told["nulls.arrow"].startswith("999|") or limit in told["nulls.arrow"] or "have more" in told["nulls.arrow"]
    assert told["unread.parquet"].startswith("1000|") or limit in told["unread.parquet"]


def test_a_row_of_a_table_that_is_too_large_is_set_aside_and_not_decoded(tmp_path):
    import pyarrow as pa

    for name, write in (("p.parquet", parquet), ("p.arrow", arrow)):
        write(
            tmp_path / name, pa.table({**{k: [v] * 3 for k, v in ROW.items()}, "chosen": ["a", "b" * 1_100_000, "c"]})
        )
        read = read_pairs(tmp_path / name)
        assert [pair.chosen[0]["content"] for pair in read.pairs] == ["a", "c"]
        assert read.quarantined[0].reason.startswith("the row has 1,100,0")
        assert read.quarantined[0].reason.endswith("bytes, more than 1,048,576")


BROKEN = {
    "a quote is missing": '{"prompt": "a, "chosen": "b"}',
    "a bracket is missing": '{"prompt": ["a", "chosen": "b"',
    "a bracket is wrong": '{"prompt": "a"]',
    "a bracket too many is open": '[{"prompt": "a"}',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_element_of_an_array_ends_the_search_at_the_limit(tmp_path, monkeypatch, broken):
    """What follows is not held in memory to its end. The limit is made small here; its own is READ_LIMIT."""
    monkeypatch.setattr("dpo_core.data.json_arrays.READ_LIMIT", 1 << 16)
    monkeypatch.setattr("dpo_core.data.json_arrays.BLOCK", 1 << 12)
    path = tmp_path / "p.json"
    path.write_text("[" + ",\n".join([broken, *[json.dumps(ROW)] * 5000]) + "]")
    with pytest.raises(InputError) as caught:
        read_pairs(path)
    assert caught.value.says in ("the JSON array breaks off", "an element of more than 0 MiB")
    assert f"{path}:row" in caught.value.where
    assert "one row a line" in caught.value.do
    assert READ_LIMIT == 16 << 20


def test_names_and_reasons_that_no_row_shares_are_not_all_kept(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [{**ROW, f"column {n} " + "x" * 99: n} for n in range(500)]
    bad = [{f"other {n}": n} for n in range(500)] + [
        {**ROW, "chosen": [{"role": str(n), "content": ""}]} for n in range(99)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *bad]))
    read = read_pairs(path)
    assert len(read.dropped_columns) == MOST + 1
    assert max(map(len, read.dropped_columns)) < 70
    assert sum(read.dropped_columns.values()) == 500
    assert read.dropped_columns["(other names)"] == 500 - MOST


def test_many_kinds_of_reasons_are_counted_together_beyond_a_number():
    from dpo_core.data.reasons import OTHERS, Reasons

    reasons = Reasons()
    words = [f"{chr(97 + n % 26)}{chr(97 + n // 26)} is odd" for n in range(200)]
    reasons.add(words)
    both = Reasons()
    both.join(reasons)
    both.join(reasons)
    assert len(both.counts) == MOST_REASONS + 1
    assert (sum(both.counts.values()), both.counts[OTHERS]) == (400, 2 * (200 - MOST_REASONS))


@pytest.mark.parametrize(
    "unit", ["-eyJ", "eyJa-", "-eyJaaaaaaaa", "-SG.aaaaaaaaaaaaaaaa", "://a:", "-----BEGIN PRIVATE KEY-"]
)
def test_masking_takes_steps_in_proportion_to_the_text(unit):
    """248 KB of the first took 83 s. No time is asserted: the suite's own limit would end this test."""
    text = redact(unit * (200_000 // len(unit)))
    assert isinstance(text, str)


def test_a_token_of_the_web_is_masked_as_before():
    header, payload = "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0In0" * 40
    assert redact(f"Bearer {header}.{payload}.c2ln") == "Bearer [key]"


@pytest.mark.parametrize("deep", [400, 900, 990, 5000, 100_000])
@pytest.mark.parametrize("column", ["meta", "tools", "chosen", "messages", "context", "other"])
def test_a_row_of_any_depth_is_read_or_set_aside(tmp_path, deep, column):
    path = tmp_path / "p.jsonl"
    inside = '{"a":' * deep + "1" + "}" * deep
    value = f"[{inside}]" if column == "tools" else inside
    row = json.dumps({key: text for key, text in ROW.items() if key != column})
    path.write_text(json.dumps(ROW) + "\n" + row[:-1] + f', "{column}": {value}}}\n')
    read = read_pairs(path)
    assert read.rows == 2 == len(read.pairs) + len(read.quarantined)

"""Whatever stands in a file: no crash, and every row is kept or set aside."""

import gzip
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpo_core.data.messages import BadRow
from dpo_core.data.readers import read_pairs
from dpo_core.data.shapes import COLUMNS, format_of, to_pair
from dpo_core.data.text_files import parse
from dpo_core.errors import InputError

QUICK = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROW = {"prompt": "a", "chosen": "b", "rejected": "c"}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(["role", "content", "from", "value", "score", "response", "parts", "text", "completion", "x"])
WORDS = st.sampled_from(["user", "assistant", "gpt", "human", "\n\nHuman: a\n\nAssistant: b", "text", "model"])
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ROWS = st.dictionaries(st.sampled_from(sorted(COLUMNS)) | st.text(max_size=4), VALUES, max_size=6)


def read_or_refused(path):
    """What reading gives: a complete account of the rows, or an error that names the file."""
    try:
        read = read_pairs(path)
    except InputError as error:
        if str(path) in error.where and error.do:
            return None
        raise
    assert read.rows == len(read.pairs) + len(read.quarantined)
    assert all(quarantined.reason for quarantined in read.quarantined)
    return read


def pair_or_reason(row):
    try:
        return to_pair(row, "f:1")
    except BadRow as bad:
        return str(bad)


@QUICK
@given(ROWS)
def test_any_object_is_a_pair_or_has_a_reason(row):
    pair = pair_or_reason(row)
    if isinstance(pair, str):
        assert pair
        return
    assert format_of(row)
    assert json.loads(json.dumps(pair.to_row()))["id"] == pair.id


@QUICK
@given(st.dictionaries(st.sampled_from(["prompt", "chosen", "rejected", "meta", "tools", "source"]), VALUES))
def test_any_value_in_a_good_row_is_taken_or_has_a_reason(change):
    assert pair_or_reason({**ROW, **change})


@QUICK
@given(st.lists(ROWS | st.just(ROW), max_size=5))
def test_every_object_of_a_file_is_accounted_for_in_lines_and_in_an_array(tmp_path, rows):
    lines, array = tmp_path / "p.jsonl", tmp_path / "p.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in [ROW, *rows]))
    array.write_text(json.dumps([ROW, *rows]))
    for path in (lines, array):
        read = read_or_refused(path)
        assert read is not None
        assert read.rows == 1 + len(rows)


@QUICK
@given(st.lists(st.text(max_size=30)))
def test_every_line_of_text_is_accounted_for(tmp_path, texts):
    path = tmp_path / "p.jsonl"
    data = "\n".join([json.dumps(ROW), *texts]).encode("utf-8", "surrogatepass")
    path.write_bytes(data)
    read = read_or_refused(path)
    assert read is not None
    assert read.rows == sum(bool(line.strip()) for line in data.splitlines())


@QUICK
@given(
    st.binary(max_size=60), st.sampled_from(["p.jsonl", "p.json", "p.jsonl.gz", "p.json.zst", "p.parquet", "p.arrow"])
)
def test_any_bytes_are_read_or_refused(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    read_or_refused(path)


@QUICK
@given(st.binary(max_size=60), st.integers(0, 200))
def test_bytes_inside_a_good_file_cost_no_row_silently(tmp_path, data, at):
    """A gzip file of three rows, something written into its text: the rows before it and after it are still counted."""
    good = (json.dumps(ROW) + "\n").encode()
    text = good * 3
    text = good + text[:at] + data + text[at:]
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(text))
    read = read_or_refused(path)
    assert read is not None
    assert read.rows == sum(bool(line.strip()) for line in text.splitlines())


@QUICK
@given(st.text(max_size=200))
def test_any_text_is_an_object_or_has_a_reason(text):
    row = parse(text)
    assert isinstance(row, (dict, BadRow))

"""What people and machines put into files of pairs: each gives its named error, its reason, or is taken.

Beside a bad row stand good ones, which must be kept. What needs a tokenizer (over-length, boundaries) is in
test_encode.py; what compares rows (duplicates, contradictions, leakage) in test_examine.py.
"""

import gzip
import hashlib
import json
import struct

import pytest

from dpo_core.data.pairs import EncodedPair
from dpo_core.data.readers import read_pairs
from dpo_core.data.shapes import to_pair
from dpo_core.errors import InputError
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import examine_pairs

ROW = {"prompt": "Where is the sea?", "chosen": "Down the hill.", "rejected": "Up in the air."}
GOOD = json.dumps(ROW).encode()


def but(**columns) -> bytes:
    return json.dumps({**ROW, **columns}).encode()


def talk(*turns) -> bytes:
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    prompt = [{"role": roles.get(turn, turn), "content": f"turn {n}"} for n, turn in enumerate(turns)]
    return but(
        prompt=prompt, chosen=[{"role": "assistant", "content": "x"}], rejected=[{"role": "assistant", "content": "y"}]
    )


SET_ASIDE = {
    "3 a line that is cut": (b'{"prompt": "a", "chos', "invalid JSON at column 17: Unterminated string starting at"),
    "4 no JSON": (b"hello", "invalid JSON at column 1: Expecting value"),
    "6 a trailing comma": (GOOD[:-1] + b",}", "invalid JSON"),
    "6 single quotes": (b"{'prompt': 'a'}", "invalid JSON at column 2: Expecting property name"),
    "6 a comment": (GOOD + b" // good", "invalid JSON at column 91: Extra data"),
    "7 a raw NUL": (GOOD.replace(b"sea", b"s\0a"), "invalid JSON at column 27: Invalid control character at"),
    "8 an escaped NUL": (but(prompt="s\0a"), "prompt holds a NUL character"),
    "9 half a surrogate pair": (but(chosen="\ud800"), "chosen holds half of a surrogate pair"),
    "10 CP1252": (GOOD.replace(b"sea", b"caf\xe9"), "not UTF-8 text: byte 0xe9 at offset 118"),
    "14 a key twice": (GOOD[:-1] + b', "prompt": "b"}', "key 'prompt' occurs twice"),
    "15 NaN": (GOOD[:-1] + b', "meta": {"x": NaN}}', "NaN is not a JSON number"),
    "15 Infinity": (GOOD[:-1] + b', "meta": {"x": -Infinity}}', "-Infinity is not a JSON number"),
    "16 an integer of 5,000 digits": (
        GOOD[:-1] + b', "meta": ' + b"9" * 5000 + b"}",
        "invalid JSON: Exceeds the limit",
    ),
    "17 nested 100,000 deep": (b'{"prompt": ' + b"[" * 100_000, "invalid JSON: nested too deeply"),
    "18 no chosen": (b'{"prompt": "a", "rejected": "b"}', "missing column 'chosen'"),
    "19 null": (but(chosen=None), "chosen is null"),
    "20 a number": (but(chosen=5), "chosen is a number, not text or a list of messages"),
    "20 a boolean": (but(rejected=True), "rejected is a boolean"),
    "20 an object": (but(prompt={"role": "user"}), "prompt is an object"),
    "22 another case": (b'{"Prompt": "a", "chosen": "b", "rejected": "c"}', "did you mean 'Prompt'?"),
    "23 messages after text": (talk("u"), "the row is messages, but the rows before it are plain text"),
    "24 an unknown role": (talk("wizard"), "prompt[0] has unknown role 'wizard'"),
    "24 no messages": (but(prompt=[]), "prompt is an empty list"),
    "24 content null": (but(prompt=[{"role": "user", "content": None}]), "prompt[0].content is null, not text"),
    "25 two system turns": (talk("s", "s", "u"), "turn 2 is a system turn"),
    "25 the assistant first": (talk("a", "u"), "the conversation begins with the assistant"),
    "25 the user twice": (talk("u", "u"), "turns 1 and 2 are both the user's"),
    "26 other prompts": (
        json.dumps(
            {
                side: [{"role": "user", "content": side}, {"role": "assistant", "content": "x"}]
                for side in ("chosen", "rejected")
            }
        ).encode(),
        "chosen and rejected share no first message",
    ),
    "27 white space as prompt": (but(prompt=" \n"), "prompt is empty"),
    "28 an empty answer": (but(rejected=""), "rejected is empty"),
    "29 equal answers": (but(rejected=ROW["chosen"]), "chosen and rejected are identical"),
    "29 equal but for white space": (but(rejected=ROW["chosen"] + " \n"), "chosen and rejected are identical"),
    "29 equal but for Unicode forms": (but(chosen="\u00e9t\u00e9", rejected="e\u0301te\u0301"), "are identical"),
    "30 lost characters": (but(chosen="\ufffd" * 3 + "abc"), "chosen holds 3 replacement characters (U+FFFD) in 6"),
    "30 mojibake": (but(chosen="\u00e9\u00e8\u00ea!".encode().decode("latin-1")), "chosen is mojibake"),
    "33 a score of NaN": (but(chosen_score="NaN"), "chosen_score is text, not a number"),
    "33 a score of 1e400": (GOOD[:-1] + b', "score_chosen": 1e400}', "score_chosen is no finite number"),
    "33 a score of 10^400": (GOOD[:-1] + b', "score_chosen": 1%s}' % (b"0" * 400), "score_chosen is no finite number"),
    "43 white space as answer": (but(chosen="\n\t "), "chosen is empty"),
    "44 four megabytes": (but(chosen="x" * (4 << 20)), "the row has 4,194,379 characters, more than 1,048,576"),
    "44 more than 256 KiB": (but(chosen="\u00e9" * 131_073), "a text of 262,146 bytes, more than 262,144"),
    "57 a template of the row's own": (but(chat_template="{{ 7 }}"), "a template is never taken from the data"),
    "57 template options": (but(chat_template_kwargs={"x": 1}), "a template is never taken from the data"),
    "an image": (but(images=["x.png"]), "column 'images': only text can be trained on"),
}


@pytest.mark.parametrize(("bad", "reason"), SET_ASIDE.values(), ids=SET_ASIDE)
def test_a_bad_row_is_set_aside_with_its_reason_and_its_neighbours_are_kept(tmp_path, bad, reason):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\n".join([GOOD, bad, GOOD]))
    read = read_pairs(path)
    assert [(q.where, q.line) for q in read.quarantined] == [(f"{path}:2", 2)]
    assert reason in read.quarantined[0].reason
    assert (read.rows, len(read.pairs)) == (3, 2)


def parquet_of(column, values):
    """The bytes of a Parquet file with one column that is not text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({**{name: [text] for name, text in ROW.items()}, column: values})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


REFUSED = {
    "1 an empty file": ("p.jsonl", b"", "the file is empty"),
    "2 blank lines": ("p.jsonl", b"\n \n\t\r\n", "the file has no rows"),
    "12 UTF-16": ("p.jsonl", GOOD.decode().encode("utf-16"), "the file is UTF-16 or UTF-32, not UTF-8"),
    "12 UTF-16 without a mark": ("p.jsonl", GOOD.decode().encode("utf-16-le"), "the file is UTF-16 or UTF-32"),
    "12 UTF-32": ("p.jsonl", GOOD.decode().encode("utf-32"), "the file is UTF-16 or UTF-32, not UTF-8"),
    "22 no such column": ("p.jsonl", GOOD.replace(b"chosen", b"Choosen"), "did you mean 'Choosen'?"),
    "45 a line of 17 MiB": ("p.jsonl", b" " * (17 << 20), "a line of more than 16 MiB"),
    "46 a gzip bomb": ("p.jsonl.gz", gzip.compress(b" " * (50 << 20)), "the file inflates above the limit of"),
    "47 gzip in gzip": ("p.jsonl.gz", gzip.compress(gzip.compress(GOOD)), "compressed twice: inside is gzip data"),
    "47 a ZIP archive": ("p.zip", b"PK\3\4", "unknown kind of file '.zip'"),
    "47 a tar archive": ("p.tar.gz", gzip.compress(GOOD), "unknown kind of file '.gz'"),
    "48 a cut gzip file": ("p.jsonl.gz", gzip.compress(GOOD * 99)[:-9], "the gzip file is cut off"),
    "48 a damaged gzip file": (
        "p.jsonl.gz",
        gzip.compress(GOOD)[:-8] + b"12345678",
        "not a gzip file: CRC check failed",
    ),
    "48 a Parquet footer": (
        "p.parquet",
        b"PAR1" + b"\0" * 50 + struct.pack("<I", 9) + b"PAR1",
        "not a readable Parquet",
    ),
    "48 no Arrow file": ("p.arrow", b"ARROW1\0\0nothing", "not a readable Arrow file"),
    "49 a column of bytes": (
        "p.parquet",
        parquet_of("chosen", [b"\x80\x04."]),
        "column 'chosen' holds binary, not text",
    ),
}


@pytest.mark.parametrize(("name", "data", "says"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_trusted_is_refused_by_name(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_pairs(path)
    assert says in caught.value.says
    assert caught.value.where.startswith(str(path))
    assert caught.value.do


TAKEN = {
    "5 an array": (b"[" + GOOD + b"]", ROW["chosen"]),
    "11 a byte order mark": (b"\xef\xbb\xbf" + GOOD, ROW["chosen"]),
    "13 CRLF": (GOOD + b"\r\n", ROW["chosen"]),
    "13 CR": (GOOD + b"\r", ROW["chosen"]),
    "21 another column": (but(extra=1), ROW["chosen"]),
    "31 one answer begins with the other": (but(rejected=ROW["chosen"] + " Yes."), ROW["chosen"]),
    "53 a special token as text": (but(chosen="<|im_end|><|im_start|>system"), "<|im_end|><|im_start|>system"),
    "56 Jinja as text": (but(chosen="{{7*7}}"), "{{7*7}}"),
    "58 right to left, zero width": (but(chosen="\u202eabc\u200b"), "\u202eabc\u200b"),
}


@pytest.mark.parametrize(("data", "chosen"), TAKEN.values(), ids=TAKEN)
def test_what_is_odd_but_sound_is_taken_as_it_is(tmp_path, data, chosen):
    path = tmp_path / "p.jsonl"
    path.write_bytes(data)
    assert [pair.chosen[0]["content"] for pair in read_pairs(path).pairs] == [chosen]


def test_line_ends_and_marks_are_no_part_of_a_row(tmp_path):
    """13: files that differ in them alone have other bytes, and so another digest, but the same rows."""
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_bytes(GOOD + b"\n")
    two.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n")
    assert read_pairs(one).pairs[0].id == read_pairs(two).pairs[0].id
    assert read_pairs(one).sha256 != read_pairs(two).sha256


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """51."""
    path = tmp_path / "p.jsonl"
    path.write_bytes(GOOD + b"\n")

    def slow_writer(row, where):
        with path.open("ab") as file:
            file.write(GOOD + b"\n")
        return to_pair(row, where)

    monkeypatch.setattr("dpo_core.data.readers.to_pair", slow_writer)
    with pytest.raises(InputError, match="the file changed while it was read"):
        read_pairs(path)


def test_an_extension_type_is_not_loaded(tmp_path):
    """49: code that registers a type would run it."""
    import pyarrow as pa

    class Pickled(pa.ExtensionType):
        def __init__(self):
            super().__init__(pa.string(), "evil.pickle")

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage, serialized):
            return cls()

    odd = pa.ExtensionArray.from_storage(Pickled(), pa.array(["x"]))
    table = pa.table({"prompt": ["a"], "chosen": odd, "rejected": ["b"]})
    with pa.ipc.new_file(tmp_path / "p.arrow", table.schema) as file:
        file.write(table)
    with pytest.raises(InputError, match=r"column 'chosen' holds evil\.pickle, not text or messages"):
        read_pairs(tmp_path / "p.arrow")


OTHERS = [
    {"row_id": n, "prompt": f"What is {n}?", "chosen": f"{n} is odd.", "rejected": f"{n} is even."}
    for n in range(1, 99, 2)
]
ONE = {"row_id": "a", "prompt": "Where is the sea?", "chosen": "Down the hill.", "rejected": "Up in the air."}
TOGETHER = {
    "34 an id twice, the same content": ([ONE, ONE], {"consistency/duplicates": 1}),
    "35 an id twice, other content": (
        [ONE, {**ONE, "prompt": "Who sings?", "chosen": "A bird."}],
        {"consistency/same_id": 2},
    ),
    "36 a row twice, another id": ([ONE, {**ONE, "row_id": "b"}], {"consistency/duplicates": 1}),
    "32 scores that say the opposite": (
        [{**ONE, "chosen_score": 1, "rejected_score": 2}],
        {"consistency/flipped": 1},
    ),
    "37 a row and its opposite": (
        [ONE, {**ONE, "row_id": "b", "chosen": ONE["rejected"], "rejected": ONE["chosen"]}],
        {"consistency/both_directions": 2},
    ),
}
ROWS_AT_ODDS = ("consistency/duplicates", "consistency/same_id", "consistency/both_directions", "consistency/flipped")


@pytest.mark.parametrize("spelt", ["a column", "meta"])
@pytest.mark.parametrize(("rows", "counted"), TOGETHER.values(), ids=TOGETHER)
def test_rows_at_odds_with_each_other_are_counted_and_shown(tmp_path, rows, counted, spelt):
    """32, 34 to 37: no row is unusable by itself, so none is set aside; the check names them."""
    rows = [*OTHERS, *rows]
    if spelt == "meta":
        rows = [{**{k: v for k, v in row.items() if k != "row_id"}, "meta": {"id": row["row_id"]}} for row in rows]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    pairs = [EncodedPair(pair, (), (), ()) for pair in read_pairs(path).pairs]
    findings = [f for f in examine_pairs(pairs).findings if f.check in ROWS_AT_ODDS]
    assert {finding.check: finding.statistics["pairs"] for finding in findings} == counted
    assert f"{path}:{len(rows)}" in [row.where for finding in findings for row in finding.evidence]


def test_equal_ids_of_two_files_are_no_mix_up(tmp_path):
    """35: an export that counts its rows gives every file a row 1."""
    pairs = []
    for name, row in (("one", ONE), ("two", {**ONE, "prompt": "Who sings?", "chosen": "A bird."})):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps(row))
        pairs += [EncodedPair(pair, (), (), ()) for pair in read_pairs(path).pairs]
    assert "consistency/same_id" not in [finding.check for finding in examine_pairs(pairs).findings]


def sums(tmp_path, text):
    (tmp_path / "p.jsonl").write_bytes(GOOD + b"\n")
    (tmp_path / "SHA256SUMS").write_text(text)
    return tmp_path / "p.jsonl"


def test_a_file_that_is_not_what_sha256sums_promises_is_refused(tmp_path):
    """52: a file of an earlier or half-finished export, found before a row is read."""
    path = sums(tmp_path, f"{hashlib.sha256(GOOD).hexdigest()}  p.jsonl\n")
    with pytest.raises(InputError, match="not the one that SHA256SUMS promises") as caught:
        read_pairs(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("name", ["p.jsonl", "./p.jsonl", "another.jsonl"])
def test_a_file_that_sha256sums_promises_or_does_not_know_is_read(tmp_path, name):
    sha256 = "0" * 64 if name == "another.jsonl" else hashlib.sha256(GOOD + b"\n").hexdigest()
    path = sums(tmp_path, f"{sha256} *{name}\n")
    assert len(read_pairs(path).pairs) == 1


def test_a_sha256sums_that_is_none_is_refused_by_line(tmp_path):
    path = sums(tmp_path, f"{'0' * 64}  another.jsonl\np.jsonl: OK\n")
    with pytest.raises(InputError, match="this line is not what sha256sum writes") as caught:
        read_pairs(path)
    assert caught.value.where == f"{tmp_path}/SHA256SUMS:2"


@pytest.mark.parametrize(("limit", "fails"), [(0.5, True), (0.75, False), (1.0, False)])
def test_a_source_that_outweighs_the_others_fails_where_a_limit_is_set(limit, fails):
    """60, beside `validation.min_pairs`: 75 of 100 pairs come from one source."""
    rows = [{**OTHERS[n % 49], "prompt": f"Number {n}?", "source": "a" if n % 4 else "b"} for n in range(100)]
    pairs = [EncodedPair(to_pair(row, ""), (), (), ()) for row in rows]
    findings = examine_pairs(pairs, Validation(max_source=limit)).findings
    found = [finding for finding in findings if finding.check == "balance/source"]
    assert [finding.severity for finding in found] == ["fail"] * fails
    assert all(finding.says.startswith("75 of 100 pairs come from the source 'a'") for finding in found)

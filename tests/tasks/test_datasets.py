"""Data sets as sources: what is written is read back as it is, mixes are stable, differences are counted by hand."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from dpo_core.data.pairs import Pair
from dpo_core.data.readers import read_pairs
from dpo_core.errors import InputError
from infra.datasets.manifest import DatasetSource
from infra.datasets.names import parse
from infra.datasets.shelf import find
from infra.errors import Damaged
from infra.registry import versions as registry
from infra.settings import load_settings
from infra.store import open_store
from tasks.commands.gc import DAY_S, find_garbage, remove
from tasks.commands.verify_store import verify
from tasks.datasets import export as export_module
from tasks.datasets.diff import diff_versions
from tasks.datasets.export import export_version
from tasks.datasets.forget import forget_id
from tasks.datasets.mix import mix_versions, parse_part
from tasks.datasets.rows import ids_of_pair
from tasks.datasets.write import add_source
from tasks.runtime.sources import local_source, version_of_source
from tests.data_sets import write_version


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "all_versions", list)
    return tmp_path / "home"


@pytest.fixture
def store(home):
    return open_store(load_settings())


def row(n, *, answer="yes it is", source="", **more):
    user = [{"role": "user", "content": f"question {n}"}]
    sides = {side: [{"role": "assistant", "content": text}] for side, text in (("chosen", answer), ("rejected", "no"))}
    return {"prompt": user, **sides, **({"source": source} if source else {}), **more}


def rows(*numbers, **more):
    return [row(n, **more) for n in numbers]


def read(source, home):
    return read_pairs(local_source(source, home))


def asked(source, home):
    return [pair.prompt[0]["content"].removeprefix("question ") for pair in read(source, home).pairs]


CALL = {"type": "function", "function": {"name": "sum", "arguments": {"a": 1, "b": [2.5, None]}}, "id": "c1"}
SHAPES = {
    "messages, all columns": row(
        1,
        source="ä/ö",
        sft_weight=0.25,
        meta={"annotator": "eve", "score": 0.1, "x": {"y": [1, None, True]}},
        uuid="u-7",
    ),
    "columns that go to meta": row(2, chosen_score=3, timestamp="2026-01-01", id=17),
    "plain text": {"prompt": "Die Straße ", "chosen": " ist lang.", "rejected": "\tist\u2028kurz."},
    "plain text, implicit prompt": {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    "a plain prompt of many words": {"prompt": "word " * 30, "chosen": "yes", "rejected": "no"},
    "HH": {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: Bye"},
    "whole conversations": {
        side: [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}]
        for side, text in (("chosen", "Hello"), ("rejected", "What?"))
    },
    "tools and thoughts": {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "1 + 2?"}],
        "chosen": [
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "sum"},
            {"role": "assistant", "content": "3", "reasoning_content": "1 and 2"},
        ],
        "rejected": [{"role": "assistant", "content": "4"}],
        "tools": [{"type": "function", "function": {"name": "sum", "parameters": {}}}],
    },
    "UltraFeedback": {
        "instruction": "q",
        "source": "uf",
        "completions": [
            {"response": "good", "overall_score": 9.0, "model": "m1"},
            {"response": "bad", "overall_score": 2.0, "model": "m2"},
        ],
    },
    "Alpaca": {"instruction": "Add", "input": "1 and 2", "chosen": "3", "rejected": "4"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_of_any_shape_is_read_back_as_the_same_pair(shape, store, home, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps(SHAPES[shape]) + "\n")
    [pair] = read_pairs(file).pairs
    done, bad = add_source(store, "chat", str(file))
    assert bad is None
    [again] = read("dataset:chat@1", home).pairs
    assert again.id == pair.id
    assert again.row_id == pair.row_id
    assert again.to_row() | {"where": ""} == pair.to_row() | {"where": ""}
    assert version_of_source("dataset:chat") == done.version.sha256


def test_rows_of_a_version_written_from_a_version_are_the_same_bytes(store, home):
    first = write_version(store, "a", [SHAPES[shape] for shape in SHAPES if "plain" not in shape])
    pairs = read("dataset:a", home).pairs
    assert write_version(store, "b", pairs).sha256 == first.sha256


def test_a_row_that_would_come_back_as_another_is_refused_with_its_place(store):
    said = ({"role": "assistant", "content": "yes"},), ({"role": "assistant", "content": "no"},)
    wrong = Pair(({"role": "user", "content": "q"},), *said, meta={"a": (1, 2)}, sft_weight=2, where="p:3")
    with pytest.raises(InputError, match="would not be read back as it is") as error:
        write_version(store, "chat", [wrong])
    assert error.value.where == "p:3"
    with pytest.raises(InputError, match="the row is no pair: missing column 'rejected'") as error:
        write_version(store, "chat", [*rows(1), {"prompt": "q", "chosen": "a"}])
    assert error.value.where == "row 2 of data set chat"
    with pytest.raises(InputError, match="some rows are plain text, and others messages"):
        write_version(store, "chat", [*rows(1), SHAPES["plain text"]])
    with pytest.raises(InputError, match="no row is left"):
        write_version(store, "chat", [])
    assert list(store.list("datasets/")) == []


def test_a_record_says_where_rows_came_from_and_carries_licences_along(store, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in [*rows(1, 2, source="s"), {"prompt": "x"}, row(3)]))
    (a, _), bad = add_source(store, "a", str(file), licence="CC-BY-4.0", notes="first")
    assert (a.rows, a.unreadable, a.by_source, a.licences) == (3, 1, {"s": 2, "": 1}, ("CC-BY-4.0",))
    assert bad.where == f"{file}:3"
    assert a.sources == (
        DatasetSource(source=str(file), rows=3, sha256=version_of_source(str(file)), licence="CC-BY-4.0"),
    )
    b = write_version(
        store, "b", rows(4), sources=[DatasetSource(source="by hand", rows=1, licence="MIT AND Apache-2.0")]
    )
    c = write_version(store, "c", rows(5))
    mixed = mix_versions(store, "m", [parse_part(x) for x in ("a", "b@1", "c")]).version
    assert mixed.licences == ("", "Apache-2.0", "CC-BY-4.0", "MIT")
    assert [(p.name, p.number, p.sha256) for p in mixed.parents] == [(v.name, 1, v.sha256) for v in (a, b, c)]
    taken = [(s.source, s.rows, s.licence) for s in mixed.sources]
    assert taken == [("dataset:a@1", 3, "CC-BY-4.0"), ("dataset:b@1", 1, "Apache-2.0 AND MIT"), ("dataset:c@1", 1, "")]
    (again, is_new), _ = add_source(store, "copy", "dataset:m")
    assert is_new
    assert again.licences == mixed.licences
    assert again.parents[0].name == "m"


def test_a_share_is_the_same_rows_whatever_was_added_since(store, home):
    write_version(store, "a", rows(*range(200)))
    write_version(store, "a", rows(*range(400)))
    write_version(store, "b", rows(*range(1000, 1010)))
    parts = {n: [parse_part(f"a@{n}:0.3"), parse_part("b")] for n in (1, 2)}
    small, large = (mix_versions(store, "m", parts[n]).version for n in (1, 2))
    few, many = asked(small.ref, home), asked(large.ref, home)
    old = {str(n) for n in range(200)}
    assert [n for n in many if n in old] == [n for n in few if n in old]
    # of 200 rows at 0.3: 60, standard deviation sqrt(200 * 0.3 * 0.7) = 6.5; of 400: 120 and 9.2
    assert abs(small.sources[0].rows - 60) < 4 * 6.5
    assert abs(large.sources[0].rows - 120) < 4 * 9.2
    assert few[-10:] == [str(n) for n in range(1000, 1010)]
    other = mix_versions(store, "another", parts[1]).version
    assert other.sha256 != small.sha256  # a draw of its own: shares of shares would else be all or nothing


def test_a_cap_is_exact_and_a_row_that_is_added_takes_the_place_of_one_at_most(store, home):
    write_version(store, "a", rows(*range(50)))
    write_version(store, "a", rows(*range(51)))
    before, after = (asked(mix_versions(store, "m", [parse_part(f"a@{n}:20")]).version.ref, home) for n in (1, 2))
    assert len(before) == len(after) == 20
    assert len(set(before) - set(after)) <= 1
    assert len(asked(mix_versions(store, "n", [parse_part("a@1:500")]).version.ref, home)) == 50


def test_a_row_of_two_sources_is_taken_once_and_of_the_one_that_gives_it(store, home):
    write_version(store, "a", rows(1, 2, 3))
    write_version(store, "b", rows(3, 4))
    mixed = mix_versions(store, "m", [parse_part("a"), parse_part("b")]).version
    assert asked(mixed.ref, home) == ["1", "2", "3", "4"]
    assert (mixed.repeated, [s.rows for s in mixed.sources]) == (1, [3, 1])
    few = mix_versions(store, "n", [parse_part("a:1"), parse_part("b")]).version
    [first, *others] = asked(few.ref, home)
    assert others == [n for n in ("3", "4") if n != first]  # what a did not give is not held back from b


@pytest.mark.parametrize("text", ["a:0.0", "a:1.5", "a:0", "a:-3", "a:x", "a:", "a:nan."])
def test_an_amount_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="no share and no number of rows"):
        parse_part(text)


def test_differences_are_those_counted_by_hand(store):
    write_version(store, "a", [row(1), row(2), row(3, answer="yes", source="x"), row(4)])
    write_version(
        store, "a", [row(1), row(2, answer="perhaps"), row(5, answer="perhaps so", source="x"), row(6), row(7)]
    )
    diff = diff_versions(store, "a@1", "dataset:a")
    assert (diff.before, diff.after) == ("dataset:a@1", "dataset:a@2")
    assert (diff.rows.before, diff.rows.after) == (4, 5)
    assert (diff.rows_new, diff.rows_gone, diff.rows_same) == (4, 3, 1)  # 1 stays; 2 has another answer
    assert (diff.prompts_new, diff.prompts_gone, diff.prompts_changed) == (3, 2, 1)  # 5 6 7; 3 4; 2
    assert [(m.name, m.before, m.after) for m in diff.sources] == [("", 3, 4)]
    lengths = {m.name: (m.before, m.after) for m in diff.lengths}
    # words of the chosen: 3 3 1 3 -> median 3; 3 1 2 3 3 -> 3. Longer than "no": 3 and a tie of 4; 4 and a tie of 5.
    assert lengths["chosen, median words"] == (3, 3)
    assert lengths["chosen is longer, share of pairs"] == (pytest.approx(3.5 / 4), pytest.approx(4.5 / 5))
    words = {m.name: (m.before, m.after) for m in diff.words}
    assert words == {"perhaps": (0, 0.4), "yes": (1, 0.6), "so": (0, 0.2), "is": (0.75, 0.6), "it": (0.75, 0.6)}
    assert [m.name for m in diff.words][:2] == ["perhaps", "yes"]
    assert diff.says[0] == "4 rows came, 3 went, 1 are in both"
    assert diff_versions(store, "a@1", "a@1").says == ["the same rows"]


def test_what_is_forgotten_comes_back_by_no_way(store, home, tmp_path):
    old = write_version(store, "a", rows(*range(10)))
    pairs = read("dataset:a", home).pairs
    before = version_of_source("dataset:a@1")
    done = forget_id(store, pairs[3].id, why="asked to", who="ada")
    assert (done.kind, done.new, [(h.dataset, h.rows) for h in done.held_by]) == ("row", True, [("dataset:a@1", 1)])
    prompt = forget_id(store, ids_of_pair(pairs[5]).prompt[:12], why="", who="ada")
    assert (prompt.kind, prompt.new) == ("prompt", True)
    left = [str(n) for n in range(10) if n not in (3, 5)]

    result = read("dataset:a@1", home)  # the old version: read without them, and told
    assert [p.prompt[0]["content"][-1] for p in result.pairs] == left
    assert [q.reason for q in result.quarantined] == ["forgotten: `dpo data forget` took it out"] * 2
    assert [q.line for q in result.quarantined] == [4, 6]
    assert "question 3" not in Path(local_source("dataset:a@1", home)).read_text()
    assert version_of_source("dataset:a@1") != before
    assert find(store, parse("a@1")) == old

    file = tmp_path / "again.jsonl"  # the same words with another source; another answer to the prompt
    again = [*rows(3, source="elsewhere", meta={"score": 1}), *rows(5, answer="something else"), row(77)]
    file.write_text("".join(json.dumps(r) + "\n" for r in again))
    (added, _), _ = add_source(store, "b", str(file))
    assert (asked(added.ref, home), added.forgotten) == (["77"], 2)
    mixed = mix_versions(store, "m", [parse_part("a@1"), parse_part("b")]).version
    assert (asked(mixed.ref, home), mixed.forgotten) == ([*left, "77"], 2)
    copied = add_source(store, "a", "dataset:a@1")[0].version
    assert (copied.number, copied.forgotten, asked("dataset:a", home)) == (2, 2, left)
    assert diff_versions(store, "a@1", "a@2").says == ["the same rows"]  # neither has them
    assert not forget_id(store, pairs[3].id, why="", who="ada").new


def test_who_has_to_erase_is_told_every_folder_with_the_words_and_no_copy_stays_on_this_machine(store, home):
    version = write_version(store, "a", rows(1, 2, 3))
    other = Path(local_source(write_version(store, "b", rows(3)).ref, home))
    pairs = read("dataset:a", home).pairs
    kept = {"train.jsonl": pairs[:1], "eval.jsonl": pairs[1:]}
    for digest, wanted in (("c" * 64, kept), ("d" * 64, {"train.jsonl": pairs[2:]})):  # as data checks keep them
        for name, some in wanted.items():
            lines = "".join(json.dumps(pair.to_row()) + "\n" for pair in some)
            store.put_bytes(f"data/{digest}/{name}", lines.encode())
    one = forget_id(store, pairs[0].id, why="asked to", who="ada")
    folder = f"dataset_rows/{version.sha256}/"
    assert one.kept_in == [folder, f"data/{'c' * 64}/"]
    assert not any(Path(copy).exists() for copy in one.deleted_here)
    read("dataset:a", home)  # fetched anew, without the row
    again = forget_id(store, pairs[1].id, why="asked to", who="ada")
    assert again.kept_in == one.kept_in
    assert len(one.deleted_here) == len(again.deleted_here) == 1
    assert [path.parent for path in home.rglob("rows.jsonl") if "downloads" in path.parts] == [other.parent]


def test_an_exported_file_is_the_version_that_it_came_from(store, home, tmp_path):
    version = write_version(store, "a", [SHAPES[shape] for shape in SHAPES if "plain" not in shape])
    file = tmp_path / "a.jsonl"
    told = export_version(store, "a", file)
    assert (told.dataset, told.rows, told.forgotten) == ("dataset:a@1", version.rows, 0)
    data = file.read_bytes()
    assert (told.sha256, told.size) == (hashlib.sha256(data).hexdigest(), len(data)) == (version.sha256, version.size)
    assert all({"prompt", "chosen", "rejected"} <= json.loads(line).keys() for line in data.splitlines())
    (again, is_new), _ = add_source(store, "a", str(file))
    assert (again, is_new) == (version, False)
    forget_id(store, read("dataset:a", home).pairs[1].id, why="", who="ada")
    less = export_version(store, "a@1", tmp_path / "b.jsonl")
    assert (less.rows, less.forgotten) == (version.rows - 1, 1)
    lines = data.splitlines(keepends=True)
    assert (tmp_path / "b.jsonl").read_bytes() == b"".join([lines[0], *lines[2:]])


def test_an_export_takes_no_files_place_and_leaves_no_half_of_one(store, home, tmp_path):
    write_version(store, "a", rows(1, 2))
    there = tmp_path / "there.jsonl"
    there.write_text("mine")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    for name, says in {
        "there.jsonl": "there is such a file already",
        "link.jsonl": "there is such a file already",
        "no/a.jsonl": "there is no such folder",
        "a.csv": r"does not end in \.jsonl",
        f"{'n' * 300}.jsonl": "cannot be written: File name too long",
    }.items():
        with pytest.raises(InputError, match=says):
            export_version(store, "a", tmp_path / name)
    [path] = store.root.glob("dataset_rows/*/rows.jsonl")
    with path.open("r+b") as file:
        file.write(b"[")
    with pytest.raises(Damaged):
        export_version(store, "a", tmp_path / "a.jsonl")
    assert there.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "link.jsonl", "there.jsonl"]


def test_of_two_exports_to_one_file_one_is_refused(store, home, tmp_path):
    """The other arrives while this one reads its rows."""
    write_version(store, "a", rows(1, 2))
    file = tmp_path / "a.jsonl"
    before = export_module.lines_left

    def slow(version):
        lines = before(version)
        file.write_text("mine")
        return lines

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "lines_left", slow)
        with pytest.raises(InputError, match="there is such a file already"):
            export_version(store, "a", file)
    assert file.read_text() == "mine"
    assert not list(tmp_path.glob(".a*"))


def test_an_unrelated_version_keeps_its_digest_when_something_is_forgotten(store, home):
    write_version(store, "a", rows(1, 2))
    other = write_version(store, "b", rows(3))
    forget_id(store, read("dataset:a", home).pairs[0].id, why="", who="")
    assert version_of_source("dataset:b") == other.sha256


def test_a_row_is_forgotten_by_the_name_that_its_file_gave_it(store, home):
    write_version(
        store, "a", [row(1, uuid="u-1"), row(1, answer="other", uuid="u-1"), row(2, uuid="x"), row(3, uuid="x")]
    )
    assert forget_id(store, "u-1", why="", who="").kind == "row_id"
    assert asked("dataset:a", home) == ["2", "3"]
    with pytest.raises(InputError, match="2 rows or prompts are called so"):
        forget_id(store, "x", why="", who="")
    with pytest.raises(InputError, match="no row and no prompt has this id"):
        forget_id(store, "nobody", why="", who="")
    ahead = forget_id(store, "ab" * 32, why="", who="")  # an id that no version holds yet
    assert (ahead.kind, ahead.held_by, ahead.new) == ("unknown", [], True)


def test_a_version_of_which_all_rows_were_forgotten_says_so(store, home):
    write_version(store, "a", rows(1))
    forget_id(store, read("dataset:a", home).pairs[0].id, why="", who="")
    with pytest.raises(InputError, match="none of 1 rows can be read; the first: forgotten"):
        read("dataset:a", home)
    with pytest.raises(InputError, match="no row is left for a version"):
        mix_versions(store, "m", [parse_part("a")])
    with pytest.raises(InputError, match="every row of it was forgotten"):
        diff_versions(store, "a", "a")
    with pytest.raises(InputError, match="every row of it was forgotten"):
        export_version(store, "a", home / "a.jsonl")
    assert not list(home.glob("*a.jsonl*"))


def test_damaged_rows_are_not_read(store, home):
    version = write_version(store, "a", rows(1, 2))
    path = store.root / "dataset_rows" / version.sha256 / "rows.jsonl"
    with path.open("r+b") as file:
        file.write(b"[")
    with pytest.raises(Damaged):
        local_source("dataset:a", home)
    assert [fault["key"] for fault in verify(store).damaged] == [f"dataset_rows/{version.sha256}/rows.jsonl"]


def test_a_copy_here_that_was_changed_is_brought_anew(store, home):
    write_version(store, "a", rows(1, 2))
    path = Path(local_source("dataset:a", home))
    path.write_text(path.read_text().replace("question 1", "question 9"))
    assert asked("dataset:a", home) == ["1", "2"]


def test_garbage_collection_leaves_versions_and_takes_rows_that_none_names(store, tmp_path):
    kept, gone = (write_version(store, "a", rows(n)) for n in (1, 2))
    store.delete("datasets/a/versions/000002.json")  # as if its writer had been killed
    forget_id(store, "ab" * 32, why="", who="")
    for path in store.root.rglob("*"):
        os.utime(path, (time.time() - 30 * DAY_S,) * 2)
    found = find_garbage(store, older_than_s=7 * DAY_S)
    assert [unit.name for unit in found.units] == [f"dataset_rows/{gone.sha256}/"]
    remove(store, found)
    assert find(store, parse("a")) == kept
    assert len(list(store.list("forgotten/"))) == 1


def test_verify_says_which_version_has_no_rows(store):
    version = write_version(store, "a", rows(1))
    assert verify(store).damaged == []
    for key in list(store.list(f"dataset_rows/{version.sha256}/")):
        store.delete(key)
    [fault] = verify(store).damaged
    assert fault == {"key": "datasets/a/versions/000001.json", "says": "the rows of this version are not there"}

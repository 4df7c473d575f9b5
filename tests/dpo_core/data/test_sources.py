"""Folders, patterns, and data sets of the hub."""

import json
from pathlib import Path

import pytest

from dpo_core.data.hub import hub_chunks, is_hub_name
from dpo_core.data.pairs import Pair
from dpo_core.data.readers import read_pairs, stream_rows
from dpo_core.data.sources import digest_source
from dpo_core.errors import InputError
from tests.recipes import write_jsonl


def row(text: str) -> dict[str, str]:
    return {"prompt": text, "chosen": "yes it is", "rejected": "no it is not"}


def refused(source: str | Path) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        read_pairs(source)
    return caught.value.says, caught.value.do


@pytest.fixture
def parts(tmp_path):
    """Two files of one row each, one of two rows, and files that are no data."""
    folder = tmp_path / "parts"
    (folder / "deep").mkdir(parents=True)
    write_jsonl(folder / "a.jsonl", [row("a")])
    write_jsonl(folder / "b.json", [row("b")])
    write_jsonl(folder / "deep" / "c.jsonl", [row("c"), row("d")])
    write_jsonl(folder / ".hidden.jsonl", [row("x")])
    (folder / "README.md").write_text("no data")
    (folder / "dataset_info.json").write_text("{}")
    return folder


def prompts(source: str | Path) -> str:
    return "".join(pair.prompt[0]["content"] for pair in read_pairs(source).pairs)


def test_a_folder_is_all_its_files_by_name(parts):
    assert prompts(parts) == "abcd"


def test_a_pattern_is_the_files_it_names(parts):
    assert prompts(f"{parts}/*.json*") == "ab"
    assert prompts(f"{parts}/**/*.jsonl") == "acd"


def test_a_folder_has_the_same_digest_wherever_it_lies_and_another_when_a_byte_changes(parts, tmp_path):
    before = digest_source(str(parts))
    moved = parts.rename(tmp_path / "moved")
    assert digest_source(str(moved)) == before
    write_jsonl(moved / "a.jsonl", [row("A")])
    assert digest_source(str(moved)) != before


def test_a_folder_of_several_splits_is_refused_because_mixing_them_leaks(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write_jsonl(tmp_path / f"{name}.jsonl", [row(name)])
    says, do = refused(tmp_path)
    assert says == "the folder holds several splits: train, test"
    assert "name one" in do
    assert len(read_pairs(f"{tmp_path}/train-*").pairs) == 2


def test_an_empty_folder_and_a_pattern_of_nothing_are_refused(tmp_path):
    assert refused(tmp_path)[0] == "the folder holds no file of pairs"
    assert refused(f"{tmp_path}/*.jsonl")[0] == "no file has such a name"


def test_what_datasets_saves_is_read_and_a_dict_of_splits_is_refused(tmp_path):
    import datasets

    data = datasets.Dataset.from_list([row(str(n)) for n in range(2500)])
    data.save_to_disk(str(tmp_path / "one"), num_shards=2)
    assert [p.prompt[0]["content"] for p in read_pairs(tmp_path / "one").pairs] == [str(n) for n in range(2500)]
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "two"))
    assert refused(tmp_path / "two")[0] == "the folder holds several splits: train, test"
    assert len(read_pairs(tmp_path / "two" / "test").pairs) == 2500


def test_a_data_set_of_the_hub_is_streamed_by_split(tmp_path, monkeypatch):
    """No hub in tests: `load_dataset` takes a folder too, by the same streaming code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "pairs").mkdir(parents=True)
    write_jsonl(tmp_path / "org" / "pairs" / "train.jsonl", [row(str(n)) for n in range(1500)])
    write_jsonl(tmp_path / "org" / "pairs" / "test.jsonl", [row("held out")])
    chunks = list(hub_chunks("org/pairs"))
    assert [len(chunk.objects) for chunk in chunks] == [1024, 476]
    assert next(iter(chunks[1].rows())).where == "org/pairs:train:row 1025"
    assert [raw.row["prompt"] for raw in next(iter(hub_chunks("org/pairs:test"))).rows()] == ["held out"]
    with pytest.raises(InputError) as caught:
        list(hub_chunks("org/pairs:nothing"))
    assert caught.value.where == "org/pairs:nothing"


def test_a_data_set_that_the_hub_cannot_give_says_what_to_do():
    says, do = refused("org/no-such-pairs")
    assert says.startswith("the data set cannot be read: ")
    assert "HF_TOKEN" in do


@pytest.mark.parametrize(
    ("source", "is_name"),
    [
        ("org/name", True),
        ("org/name:test", True),
        ("org/name:en:test", True),
        ("org/name.jsonl", False),
        ("a/b/c", False),
        ("/org/name", False),
        ("../name", False),
        ("s3://bucket/key", False),
        ("name", False),
        ("org/na me", False),
    ],
)
def test_a_hub_name_is_two_names_and_no_file(source, is_name):
    assert is_hub_name(source) == is_name


def test_a_stream_counts_what_it_gave(tmp_path):
    good, bad = row("a"), {"prompt": "b", "chosen": "c"}
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({**item, "extra": 1}) + "\n" for item in [good, bad, good]))
    stream = stream_rows(path)
    kinds = [isinstance(item, Pair) for item in stream]
    assert kinds == [True, False, True]
    assert (stream.tally.rows, stream.tally.pairs, stream.tally.unread.counts()) == (3, 2, {"extra": 2})
    assert stream.tally.format == "TRL explicit prompt, text"
    assert stream.sha256 == digest_source(str(path))

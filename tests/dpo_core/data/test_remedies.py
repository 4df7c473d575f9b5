"""Every remedy of a file or row that cannot be used is followed here, and helps."""

import json
import os
import re
import subprocess
import sys

import pytest

from dpo_core.data.readers import read_pairs
from dpo_core.data.reasons import ANY, Reasons, remedy_of
from dpo_core.data.sources import files_of
from dpo_core.errors import InputError
from tests.recipes import write_jsonl

ROW = {"prompt": "Where is the sea?", "chosen": "Down the hill.", "rejected": "Up in the air."}
USER = {"role": "user", "content": ROW["prompt"]}
YES, NO = ({"role": "assistant", "content": ROW[side]} for side in ("chosen", "rejected"))


def refused(path):
    with pytest.raises(InputError) as caught:
        read_pairs(path)
    return caught.value


def said(path):
    return [
        (p.prompt[-1]["content"], p.chosen[-1]["content"], p.rejected[-1]["content"]) for p in read_pairs(path).pairs
    ]


# what is wrong, the remedy's words, and the row after it was followed
FOLLOWED = {
    "another name": (
        {**{k: v for k, v in ROW.items() if k != "chosen"}, "choosen": "x"},
        "rename the column 'choosen'",
        ROW,
    ),
    "KTO": ({"prompt": "a", "completion": "b", "label": True}, "columns prompt, chosen, rejected", ROW),
    "an arena": ({"prompt": "a", "response_a": "b", "response_b": "c", "winner": "a"}, "to the column chosen", ROW),
    "SFT": (
        {"messages": [USER, YES]},
        "rejected_response",
        {"messages": [USER, YES], "rejected_response": NO["content"]},
    ),
    "no answers": ({"prompt": "a"}, "give every row a prompt, a chosen and a rejected", ROW),
    "input beside prompt": (
        {**ROW, "input": "A text."},
        "rename 'prompt' to 'instruction'",
        {"instruction": ROW["prompt"], "input": "", "chosen": ROW["chosen"], "rejected": ROW["rejected"]},
    ),
    "a context": ({**ROW, "context": "A page."}, "write it into the prompt, or take the column out", ROW),
    "a thought": (
        {"prompt": [USER], "chosen": [YES], "rejected": [NO], "reasoning_content": "Hm."},
        "into the message of the answer",
        {"prompt": [USER], "chosen": [{**YES, "reasoning_content": "Hm."}], "rejected": [NO]},
    ),
    "two system texts": (
        {**ROW, "prompt": [{"role": "system", "content": "a"}, USER], "system": "b"},
        "keep one of them",
        {**ROW, "prompt": [{"role": "system", "content": "a"}, USER]},
    ),
    "Python's text": (
        {"prompt": ROW["prompt"], "chosen": str([USER, YES]), "rejected": str([USER, NO])},
        "json.dumps",
        {"prompt": ROW["prompt"], "chosen": json.dumps([USER, YES]), "rejected": json.dumps([USER, NO])},
    ),
    "a template's text": (
        {**ROW, "prompt": "[INST] Where is the sea? [/INST]"},
        "messages of role and content",
        {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    ),
    "the prompt twice as text": (
        {
            "prompt": "Say where the sea is, in a word. " * 2,
            **{s: "Say where the sea is, in a word. " * 2 + s for s in ("chosen", "rejected")},
        },
        "take the column 'prompt' out",
        {s: "Say where the sea is, in a word. " * 2 + s for s in ("chosen", "rejected")},
    ),
    "another prompt": (
        {"prompt": [{**USER, "content": "x"}], "chosen": [USER, YES], "rejected": [USER, NO]},
        "take the column 'prompt' out",
        {"chosen": [USER, YES], "rejected": [USER, NO]},
    ),
    "a mixed row": ({**ROW, "chosen": [YES]}, "every row as messages, or every row as text", ROW),
    "pictures": ({**ROW, "images": ["x"]}, "take out the rows with pictures", ROW),
    "identical": ({**ROW, "rejected": ROW["chosen"]}, "take out the rows whose two answers are the same", ROW),
    "no answer": ({**ROW, "chosen": " "}, "fill them in", ROW),
    "too long": ({**ROW, "chosen": "x" * 300_000}, "cut or split", ROW),
    "a role": ({"prompt": [{**USER, "role": "bot"}], "chosen": [YES], "rejected": [NO]}, "roles system, user", ROW),
    "turns": ({"prompt": [USER, USER], "chosen": [YES], "rejected": [NO]}, "put the turns in order", ROW),
    "one score": (
        {"instruction": "a", "generations": ["b", "c"], "ratings": [1, 1]},
        "rate two answers of a prompt differently",
        {"instruction": "a", "generations": ["b", "c"], "ratings": [1, 2]},
    ),
    "a weight": (
        {"prompt": [USER], "chosen": [{**YES, "weight": 0}], "rejected": [NO]},
        "take such rows out, or the key",
        ROW,
    ),
    "a template": ({**ROW, "chat_template": "x"}, "take the column out", ROW),
    "system beside whole texts": (
        {"system": "b", "chosen": "a b", "rejected": "a c"},
        "name the prompt in a column 'prompt'",
        {"system": "b", **ROW},
    ),
}


@pytest.mark.parametrize(("bad", "remedy", "good"), FOLLOWED.values(), ids=FOLLOWED)
def test_what_an_error_advises_helps(tmp_path, bad, remedy, good):
    path = tmp_path / "p.jsonl"
    write_jsonl(path, [bad])
    assert remedy in refused(path).do
    write_jsonl(path, [good])
    assert len(read_pairs(path).pairs) == 1


def test_every_remedy_of_the_list_is_one_that_a_row_can_get():
    examples = [
        *(
            "over-length: 9 tokens",
            "not UTF-8 text: byte 0xe9",
            "invalid JSON at column 1",
            "is JSON of messages that breaks off",
        ),
        "missing column 'chosen'; the row has data; one object holds all rows in 'data'",
        "the row holds whole columns, as pandas.DataFrame.to_json writes them by default",
        *(
            "the row is plain text, but the rows before it are messages",
            "chosen is a number, not text or a list of messages",
        ),
    ]
    remedies = {remedy_of(text) for text in examples}
    assert len(remedies) == len(examples)
    assert ANY in remedies


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_around_the_rows_is_named_with_a_command_that_takes_it_off(tmp_path, indent):
    path = tmp_path / "wrapped.json"
    path.write_text(json.dumps({"version": "1", "data": [ROW, {**ROW, "prompt": "And the sky?"}]}, indent=indent))
    error = refused(path)
    assert error.says == "the file is one JSON object with its rows in 'data'"
    command = re.fullmatch(r"write them a row a line: python3 (-c .*) < FILE > rows\.jsonl", error.do)[1]
    with path.open() as source, (tmp_path / "rows.jsonl").open("w") as rows:
        done = subprocess.run(f'"{sys.executable}" {command}', shell=True, stdin=source, stdout=rows, check=False)
    assert done.returncode == 0
    assert len(said(tmp_path / "rows.jsonl")) == 2


def test_a_sheet_is_converted_by_the_command_that_the_error_gives(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("prompt,chosen,rejected\na,b,c\n")
    command = re.search(r"python3 (-c .*)", refused(path).do)[1]
    subprocess.run(f'"{sys.executable}" {command}', shell=True, cwd=tmp_path, check=True)
    assert said(tmp_path / "pairs.jsonl") == [("a", "b", "c")]


def test_a_row_over_several_lines_is_named_and_an_array_of_such_rows_is_read(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(ROW, indent=1))
    assert refused(path).says == "a row goes over several lines"
    path.write_text(json.dumps([ROW], indent=1))
    assert len(said(path)) == 1


FOLDERS = {
    "a hub's": (
        ["data/train_prefs-00000-of-00001", "data/test_prefs-00000-of-00001"],
        ["data/train_prefs-00000-of-00001"],
    ),
    "many files": (["train-0", "train-1", "test-0"], ["train-0", "train-1"]),
    "trainset": (["dpo_trainset", "dpo_testset"], ["dpo_trainset"]),
    "held out": (["train", "heldout"], ["train"]),
    "held-out beside a file without a name": (["pairs", "pairs.held-out"], ["pairs"]),
    "validation": (["x.validation", "x.training"], ["x.training"]),
    "capitals": (["Train", "Dev"], ["Train"]),
    "folders": (["train/a", "train/b", "test/a"], ["train/a", "train/b"]),
    "numbered": (["train1", "val1"], ["train1"]),
    "odd characters": (["tr[a]in-train-1", "tr[a]in-train-2", "eval"], ["tr[a]in-train-1", "tr[a]in-train-2"]),
}


@pytest.mark.parametrize("pattern", ["", "/**/*.jsonl"])
@pytest.mark.parametrize(("names", "train"), FOLDERS.values(), ids=FOLDERS)
def test_splits_are_told_apart_and_what_is_offered_is_the_train_split(tmp_path, names, train, pattern):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / f"{name}.jsonl", [{**ROW, "prompt": name}])
    error = refused(f"{tmp_path}{pattern}")
    assert "several splits: " in error.says
    offered = re.fullmatch(r"name one to train on, such as (.*); data\.eval takes another", error.do)[1]
    assert [asked for asked, _, _ in said(offered)] == sorted(train)


@pytest.mark.parametrize(
    "names", [["a", "b"], ["train-0", "train-1"], ["train", "more"], ["contest", "latest"], ["device", "value"]]
)
def test_files_of_one_split_are_read_together(tmp_path, names):
    for name in names:
        write_jsonl(tmp_path / f"{name}.jsonl", [ROW])
    assert len(said(tmp_path)) == 2


def test_a_dict_of_splits_offers_train_and_survives_a_broken_list(tmp_path):
    (tmp_path / "train").mkdir()
    write_jsonl(tmp_path / "train" / "a.jsonl", [ROW])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["test", "train"]}')
    assert f"such as {tmp_path}/train;" in refused(tmp_path).do
    (tmp_path / "dataset_dict.json").write_text("[")
    assert refused(tmp_path).do


@pytest.mark.parametrize("source", ["p.jsonl", ".", "*.jsonl"])
def test_a_pipe_is_refused_and_never_opened(tmp_path, source):
    os.mkfifo(tmp_path / "p.jsonl")
    error = refused(tmp_path / source)
    assert (error.says, error.where) == ("this is no ordinary file", str(tmp_path / "p.jsonl"))
    assert error.do


@pytest.mark.parametrize("source", ["/dev/zero", "/dev/stdin", "/proc/self/mem", "x" * 5000, "/nowhere/p.jsonl"])
def test_a_device_and_a_path_that_cannot_be_are_refused(source):
    with pytest.raises(InputError) as caught:
        files_of(source)
    assert all((caught.value.says, caught.value.where, caught.value.do))


def test_a_folder_named_like_a_file_is_a_folder(tmp_path):
    (tmp_path / "p.jsonl").mkdir()
    write_jsonl(tmp_path / "p.jsonl" / "a.jsonl", [ROW])
    assert len(said(tmp_path / "p.jsonl")) == len(said(tmp_path)) == 1


def test_the_reasons_are_told_with_their_counts_and_the_remedy_fits_the_largest():
    reasons = Reasons()
    reasons.add(["chosen and rejected are identical"] * 41 + ["chosen[2].content is null, not text"] * 3)
    reasons.add(["chosen[0].content is null, not text"] * 12)
    assert reasons.sentence() == (
        "41: chosen and rejected are identical; 15: chosen[N].content is null, not text. Take out the rows whose two "
        "answers are the same: nothing can be learnt from them"
    )

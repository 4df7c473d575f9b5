"""The streamed check: the same in one process and in many, with any split into chunks, and on every kind of source."""

import json

import numpy as np
import pytest

from dpo_core.data.pairs import EncodedPair, digest_pairs
from dpo_core.data.readers import read_pairs
from dpo_core.data.splits import SplitSides, held_out_rows
from dpo_core.quality.prompts.identity import digests, split_key
from dpo_core.recipe import Encoding, Validation
from infra.settings import load_settings
from tasks.data_check.pipeline import examine_request
from tasks.data_check.request import Request
from tasks.runtime import workers
from tests.dpo_core.quality.quality_data import answer, examine_pairs, null_texts


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """300 pairs of chance, 60 prompts used twice, one row of each kind of fault; a word that gives the chosen away."""
    rows = [
        {"prompt": f"prompt {number % 240}", "chosen": chosen + (" zebra" if number % 3 else ""), "rejected": rejected}
        for number, (chosen, rejected) in enumerate(null_texts(0, 300))
    ]
    rows[17] = {"prompt": "a", "chosen": "b"}
    rows[23] |= {"rejected": "mail me at eve@mail.example.org " + rows[23]["rejected"]}
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "eve@mail.example.org\n")
    return path


@pytest.fixture
def run(tmp_path, data, monkeypatch):
    """Examine the data; `rows` to a chunk."""

    def examine_it(name="scratch", *, rows=1024, processes=1, **changes):
        monkeypatch.setattr("dpo_core.data.text_files.ROWS", rows)
        monkeypatch.setattr("dpo_core.data.pairs.ROWS", rows)
        folder = tmp_path / name
        folder.mkdir()
        settings = load_settings().model_copy(update={"num_threads": processes, "home": tmp_path})
        request = {"train": str(data), "held_out": None, "validation": Validation(), "encoding": Encoding()}
        return examine_request(Request(**{**request, "tokenizer": None, **changes}), folder, settings)

    return examine_it


def summary(examined):
    return examined.result, [(m.check, m.value) for m in examined.measures], [f.evidence for f in examined.findings]


def test_the_result_is_that_of_the_checks_on_pairs_in_memory(run, data):
    examined = run(split=False)
    pairs = read_pairs(data).pairs
    expected = examine_pairs([EncodedPair(pair, (), (), ()) for pair in pairs])
    assert [(m.check, m.value) for m in examined.measures[2:]] == [(m.check, m.value) for m in expected.measures]
    assert [f.check for f in expected.findings if f.severity == "fail"]
    told = {(f.check, f.says) for f in examined.findings}
    assert {(f.check, f.says) for f in expected.findings} <= told
    assert examined.result.data_sha256 == digest_pairs(pairs)


def test_chunks_and_processes_change_nothing(run, tiny_model, quick_processes):
    quick_processes(workers)
    one = run("one", tokenizer=str(tiny_model))
    many = run("many", tokenizer=str(tiny_model), rows=60, processes=2)
    assert summary(many) == summary(one)
    assert many.train.tolist() == one.train.tolist()


def test_a_tenth_is_held_out_by_prompt_and_rows_are_written_as_they_were_read(run, data, tmp_path):
    examined = run()
    pairs = read_pairs(data).pairs
    keys = digests(split_key(pair.prompt) for pair in pairs)
    sides = held_out_rows(keys, keys, SplitSides.none())
    train, held_out = ([pair for pair, out in zip(pairs, sides, strict=True) if out == side] for side in (False, True))
    assert examined.spool.pairs(examined.train.tolist()) == train
    assert examined.spool.pairs(examined.held_out.tolist()) == held_out
    examined.spool.copy(examined.held_out, tmp_path / "eval.jsonl")
    lines = (tmp_path / "eval.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [pair.id for pair in held_out]


def questions(path, count, wordings):
    """Rows of questions of 40 words, each in so many wordings one after the other; no answer is given away."""
    rng = np.random.default_rng(0)
    answers = iter(null_texts(1, count * wordings))
    with path.open("w") as file:
        for _ in range(count):
            asked = answer(rng, 40)
            for wording in range(wordings):
                chosen, rejected = next(answers)
                file.write(json.dumps({"prompt": f"{asked} {wording}", "chosen": chosen, "rejected": rejected}) + "\n")
    return path


def test_nearly_equal_prompts_are_held_out_together_and_none_is_trained_on(run, tmp_path):
    examined = run("groups", train=str(questions(tmp_path / "q.jsonl", 80, 3)))
    assert {row // 3 for row in examined.held_out}.isdisjoint(row // 3 for row in examined.train)
    assert len(examined.held_out) % 3 == 0 < len(examined.held_out)
    values = {m.check: m.value for m in examined.measures}
    assert values["leakage/near_prompt"] == 0
    assert values["consistency/near_prompts"] == 1


def test_rows_added_at_the_end_move_no_group_to_the_other_side(run, tmp_path):
    data = questions(tmp_path / "q.jsonl", 80, 3)
    before = run("before", train=str(data))
    lines = data.read_text().splitlines()
    more = [json.loads(line) | {"prompt": json.loads(line)["prompt"] + " or so"} for line in lines[::6]]
    data.write_text("\n".join([*lines, *map(json.dumps, more)]) + "\n")
    after = run("after", train=str(data), known=before.sides)
    assert [row for row in after.held_out if row < len(lines)] == before.held_out.tolist()
    mine = {row // 3 for row in before.held_out}
    assert [row for row in after.held_out if row >= len(lines)] == [240 + n for n in range(40) if 2 * n in mine]


def test_every_row_is_counted_and_what_is_set_aside_is_masked(run):
    examined = run()
    counts = examined.result.model_dump()
    assert counts["rows_in"] == 301 == counts["rows_kept"] + counts["rows_quarantined"]
    entries = [json.loads(line) for line in examined.quarantine.read_text().splitlines()]
    assert [(entry["line"], entry["reason"].partition(";")[0]) for entry in entries] == [
        (18, "missing column 'rejected'"),
        (301, "invalid JSON at column 1: Expecting value"),
    ]
    assert "eve@" not in examined.quarantine.read_text()
    assert examined.facts["quarantine_reasons"] == {
        "missing column 'rejected'": 1,
        "invalid JSON": 1,
    }


def test_rows_that_do_not_fit_the_model_are_set_aside_by_their_line(run, tiny_model):
    examined = run(tokenizer=str(tiny_model), encoding=Encoding(max_length=150))
    entries = [json.loads(line) for line in examined.quarantine.read_text().splitlines()]
    long = [entry for entry in entries if entry["reason"].startswith("over-length")]
    assert long
    assert all(entry["where"].endswith(f":{entry['line']}") for entry in long)
    assert examined.facts["encoding"]["over_length"] == len(long)
    assert examined.result.rows_in == examined.result.rows_kept + len(entries)


def test_a_held_out_file_is_compared_and_not_examined(run, data, tmp_path):
    other = tmp_path / "eval.jsonl"
    other.write_text(json.dumps({"prompt": "PROMPT 5", "chosen": "x y z", "rejected": "u v w"}) + "\n")
    examined = run(held_out=str(other))
    assert (len(examined.train), len(examined.held_out)) == (299, 1)
    overlap = next(f for f in examined.findings if f.check == "leakage/prompt_overlap")
    assert overlap.severity == "fail"
    assert examined.facts["eval_rows"] == 1

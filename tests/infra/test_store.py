"""What every store promises: the same tests on a folder and on a real S3 server."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import InfraError, ObjectMissing
from infra.settings import Settings
from infra.store import open_store
from infra.store.base import MANIFEST


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_url")
    return open_store(Settings(home=tmp_path, store_url=url))


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "checkpoint"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"\x00\xff" * 1000)
    (folder / "deep" / "state.json").write_text("{}")
    return folder


def test_bytes_come_back_as_they_went(store):
    assert store.put_bytes("a/b.json", b"\x00\n\xff") is True
    assert store.exists("a/b.json")
    assert store.get_bytes("a/b.json") == b"\x00\n\xff"


def test_a_second_put_replaces_the_first(store):
    store.put_bytes("a", b"1")
    assert store.put_bytes("a", b"2") is True
    assert store.get_bytes("a") == b"2"


def test_create_only_leaves_what_is_there(store):
    assert store.put_bytes("ledger/1", b"first", create_only=True) is True
    assert store.put_bytes("ledger/1", b"second", create_only=True) is False
    assert store.get_bytes("ledger/1") == b"first"


def test_of_eight_racing_writers_one_wins_and_its_bytes_are_stored(store):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.put_bytes("race", b"%d" % i, create_only=True), range(8)))
    assert sum(won) == 1
    assert store.get_bytes("race") == b"%d" % won.index(True)


def test_a_missing_key_is_named(store):
    assert not store.exists("no/such")
    with pytest.raises(ObjectMissing) as caught:
        store.get_bytes("no/such")
    assert caught.value.where == f"{store.url}/no/such"
    with pytest.raises(ObjectMissing):
        store.get_folder("no/such", Path("nowhere"))


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/out", "a//b", "", "a\0b", "a\\..\\b", "./a", "k" * 251])
def test_a_key_that_could_leave_the_store_is_refused(store, key, tmp_path):
    for use in (store.get_bytes, store.exists, store.delete, lambda k: store.put_bytes(k, b"")):
        with pytest.raises(InfraError, match="this is no key"):
            use(key)
    assert not (tmp_path / "out").exists()


def test_list_is_sorted_and_ends_at_the_prefix(store):
    for key in ("runs/2", "runs/10", "runs/1/x", "runs-old/1", "other"):
        store.put_bytes(key, b"")
    assert list(store.list("runs/")) == ["runs/1/x", "runs/10", "runs/2"]
    assert list(store.list("runs/1")) == ["runs/1/x", "runs/10"]
    assert list(store.list("nothing/")) == []


def test_a_deleted_key_is_gone_and_deleting_it_again_is_no_error(store):
    store.put_bytes("a", b"1")
    store.delete("a")
    store.delete("a")
    assert not store.exists("a")


def test_a_file_of_two_parts_comes_back_whole(store, tmp_path):
    source, target = tmp_path / "big", tmp_path / "new" / "copy"
    source.write_bytes(bytes(range(256)) * (68 << 10))  # 17 MiB; a part is 16
    assert store.put_file("big", source) == hashlib.sha256(source.read_bytes()).hexdigest()
    store.get_file("big", target)
    assert target.read_bytes() == source.read_bytes()
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_comes_back_with_all_its_files(store, checkpoint, tmp_path):
    manifest = store.put_folder("ckpt/1", checkpoint)
    assert manifest["deep/state.json"] == {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    assert store.get_folder("ckpt/1", tmp_path / "back") == manifest
    assert sorted(p.relative_to(tmp_path / "back").as_posix() for p in (tmp_path / "back").rglob("*.*")) == [
        "deep/state.json",
        "model.bin",
    ]


def test_a_folder_is_not_there_until_its_last_file_is(store, checkpoint, tmp_path, monkeypatch):
    whole = type(store).put_file

    def breaks_at_the_second(self, key, path, **options):
        if key.endswith("model.bin"):
            raise InfraError("cut", where=key, do="")
        return whole(self, key, path, **options)

    monkeypatch.setattr(type(store), "put_file", breaks_at_the_second)
    with pytest.raises(InfraError, match="cut"):
        store.put_folder("ckpt/1", checkpoint)
    with pytest.raises(ObjectMissing):
        store.get_folder("ckpt/1", tmp_path / "back")
    monkeypatch.undo()
    store.put_folder("ckpt/1", checkpoint)
    assert set(store.get_folder("ckpt/1", tmp_path / "back")) == {"model.bin", "deep/state.json"}


def test_storing_the_same_folder_again_sends_no_file(store, checkpoint, monkeypatch):
    first = store.put_folder("ckpt/1", checkpoint)
    monkeypatch.setattr(type(store), "put_file", lambda *_, **__: pytest.fail("sent a file again"))
    assert store.put_folder("ckpt/1", checkpoint) == first


def test_a_stored_folder_that_lost_a_file_is_no_folder_and_storing_it_again_brings_the_file_back(
    store, checkpoint, tmp_path
):
    store.put_folder("checkpoints/one", checkpoint)
    assert store.has_folder("checkpoints/one")
    store.delete("checkpoints/one/model.bin")
    assert not store.has_folder("checkpoints/one")
    store.put_folder("checkpoints/one", checkpoint)
    store.get_folder("checkpoints/one", tmp_path / "back")
    assert (tmp_path / "back" / "model.bin").read_bytes() == (checkpoint / "model.bin").read_bytes()


def test_a_changed_folder_replaces_the_stored_one(store, checkpoint, tmp_path):
    store.put_folder("ckpt/1", checkpoint)
    (checkpoint / "model.bin").write_bytes(b"new")
    store.put_folder("ckpt/1", checkpoint)
    store.get_folder("ckpt/1", tmp_path / "back")
    assert (tmp_path / "back" / "model.bin").read_bytes() == b"new"


def test_a_file_unlike_its_manifest_is_refused_and_not_written(store, checkpoint, tmp_path):
    store.put_folder("ckpt/1", checkpoint)
    store.put_bytes("ckpt/1/model.bin", b"flipped")
    with pytest.raises(InfraError, match="not what its manifest says"):
        store.get_folder("ckpt/1", tmp_path / "back")
    assert not (tmp_path / "back" / "model.bin").exists()


def test_only_missing_and_damaged_files_are_fetched_again(store, checkpoint, tmp_path, monkeypatch):
    store.put_folder("ckpt/1", checkpoint)
    back = tmp_path / "back"
    store.get_folder("ckpt/1", back)
    (back / "deep" / "state.json").write_text("[]")  # same size, other bytes
    fetched, fetch = [], type(store).get_file
    monkeypatch.setattr(type(store), "get_file", lambda self, key, path: (fetched.append(key), fetch(self, key, path)))
    store.get_folder("ckpt/1", back)
    assert fetched == ["ckpt/1/deep/state.json"]
    assert (back / "deep" / "state.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil"])
def test_a_manifest_that_points_outside_is_refused(store, name, tmp_path):
    entry = {"size": 1, "sha256": "0" * 64}
    store.put_bytes(f"ckpt/1/{MANIFEST}", json.dumps({"files": {name: entry}}).encode())
    with pytest.raises(InfraError, match="this is no key"):
        store.get_folder("ckpt/1", tmp_path / "back")


@pytest.mark.parametrize("text", [b"", b"[]", b'{"files": {"a": 1}}', b"\xff"])
def test_a_damaged_manifest_is_named(store, text, tmp_path):
    store.put_bytes(f"ckpt/1/{MANIFEST}", text)
    with pytest.raises(InfraError, match="the manifest is damaged"):
        store.get_folder("ckpt/1", tmp_path / "back")


def test_an_empty_folder_and_a_file_that_is_not_there_are_refused(store, tmp_path):
    with pytest.raises(InfraError, match="nothing in the folder"):
        store.put_folder("ckpt/1", tmp_path / "nowhere")
    with pytest.raises(InfraError, match="no such file to store"):
        store.put_file("a", tmp_path / "nowhere")


def test_entries_tell_size_and_age(store):
    before = time.time()
    store.put_bytes("a/b", b"12345")
    [entry] = store.entries("a/")
    assert (entry.key, entry.size) == ("a/b", 5)
    assert before - 2 < entry.modified < time.time() + 2  # servers round to seconds


def test_what_is_stored_carries_its_digest(store, checkpoint):
    store.put_bytes("a", b"1")
    store.put_bytes("b", b"2", create_only=True)
    store.put_file("c", checkpoint / "model.bin")
    for key in "abc":
        assert store.digests(key).found == store.digests(key).recorded
    assert store.digests("a").found == hashlib.sha256(b"1").hexdigest()
    store.put_bytes("a", b"22")
    assert store.digests("a").recorded == hashlib.sha256(b"22").hexdigest()
    with pytest.raises(ObjectMissing):
        store.digests("no/such")


def test_a_finished_write_leaves_nothing_unfinished(store, checkpoint):
    store.put_folder("ckpt/1", checkpoint)
    assert list(store.unfinished()) == []

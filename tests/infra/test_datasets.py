"""Versions of data sets in the store: numbered once, complete or invisible, the same rows the same version."""

import hashlib
import json
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.datasets import shelf
from infra.datasets.forgotten import forget, forgotten
from infra.datasets.manifest import DatasetVersion, MadeBy
from infra.datasets.names import DatasetRef, parse, require_name
from infra.errors import BadSetting, Damaged, InfraError, ObjectMissing, Unavailable
from infra.settings import Settings
from infra.store import open_store
from infra.store.folder import FolderStore


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_url")
    return open_store(Settings(home=tmp_path, store_url=url))


@pytest.fixture
def local(tmp_path):
    return FolderStore(tmp_path / "store")


def put(store, folder, text, name="chat"):
    """Shelve these bytes as rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / shelf.ROWS).write_text(text)
    (folder / shelf.IDS).write_bytes(hashlib.sha256(text.encode()).digest() * 3)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    facts = {"created": f"2026-11-28 {os.getpid()} {id(folder)}", "made_by": MadeBy(user="ada"), "size": len(text)}
    return shelf.shelve(store, DatasetVersion(name=name, number=0, rows=1, sha256=sha256, **facts), folder)


def test_versions_are_numbered_and_the_same_rows_are_the_same_version(store, tmp_path):
    first = put(store, tmp_path / "a", "one\n")
    second = put(store, tmp_path / "b", "two\n")
    again = put(store, tmp_path / "c", "one\n")
    elsewhere = put(store, tmp_path / "d", "one\n", name="other")
    assert [done.version.number for done in (first, second, again, elsewhere)] == [1, 2, 1, 1]
    assert [done.is_new for done in (first, second, again, elsewhere)] == [True, True, False, True]
    assert again.version == first.version
    assert shelf.names(store) == ["chat", "other"]
    assert shelf.find(store, parse("dataset:chat")) == shelf.find(store, parse("chat@latest")) == second.version
    assert shelf.find(store, parse("dataset:chat@1")) == first.version
    assert list(store.list("datasets/chat/")) == [f"datasets/chat/versions/00000{n}.json" for n in (1, 2)]


def test_of_eight_writers_at_once_each_gets_a_number_and_equal_rows_share_one(store, tmp_path):
    texts = ["same\n", "same\n", *(f"{n}\n" for n in range(6))]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: put(store, tmp_path / str(n), texts[n]), range(8)))
    assert {d.version.number for d in done} == set(range(1, 8))
    assert done[0].version == done[1].version
    assert sum(d.is_new for d in done) == 7
    assert shelf.versions(store, "chat") == sorted({d.version.number: d.version for d in done}.values(), key=number)


def number(version):
    return version.number


class LosesAnswer(FolderStore):
    """The first create-only write of a record arrives, and its answer says that another was first."""

    lost = False

    def put_bytes(self, key, data, *, create_only=False):
        done = super().put_bytes(key, data, create_only=create_only)
        if create_only and "/versions/" in key and not self.lost:
            self.lost = True
            return False
        return done


def test_a_record_whose_answer_was_lost_is_known_as_ours(tmp_path):
    done = put(LosesAnswer(tmp_path / "store"), tmp_path / "a", "one\n")
    assert (done.version.number, done.is_new) == (1, True)


class Dies(FolderStore):
    """The process is killed at its n-th write, before it or after."""

    def __init__(self, root, at, after):
        super().__init__(root)
        self.left, self.after = at, after

    def _write(self, key, fill, *, create_only=False):
        mine = not key.startswith("probe/")
        self.left -= mine
        if mine and self.left < 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = super()._write(key, fill, create_only=create_only)
        if mine and self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(4))  # two files, their manifest, the record
def test_a_writer_that_is_killed_leaves_nothing_to_be_seen_and_its_second_try_is_version_2(tmp_path, at, after):
    local = FolderStore(tmp_path / "store")
    put(local, tmp_path / "a", "one\n")
    child = multiprocessing.get_context("fork").Process(
        target=lambda: put(Dies(tmp_path / "store", at, after), tmp_path / "b", "two\n")
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    whole = at == 3 and after
    assert [v.number for v in shelf.versions(local, "chat")] == ([1, 2] if whole else [1])
    done = put(local, tmp_path / "b", "two\n")
    assert (done.version.number, done.is_new) == (2, not whole)
    assert shelf.find(local, parse("chat")) == done.version
    assert local.get_bytes(f"{shelf.content_key(done.version.sha256)}/{shelf.ROWS}") == b"two\n"


def test_latest_is_the_highest_version_whose_rows_are_there(local, tmp_path):
    first, second = (put(local, tmp_path / text, f"{text}\n").version for text in ("one", "two"))
    local.delete(f"{shelf.content_key(second.sha256)}/{shelf.ROWS}")
    assert shelf.find(local, parse("chat")) == first
    assert shelf.versions(local, "chat") == [first]
    with pytest.raises(ObjectMissing, match=r"the rows of dataset:chat@2 are gone") as error:
        shelf.find(local, parse("chat@2"))
    assert error.value.do == "take another version: 1 is there"
    third = put(local, tmp_path / "three", "three\n").version
    assert third.number == 3  # a number is given once


def test_what_is_not_there_is_said_with_what_is(local, tmp_path):
    with pytest.raises(ObjectMissing, match="there is no data set chat") as error:
        shelf.find(local, parse("chat"))
    assert "dpo data add" in error.value.do
    for n in range(3):
        put(local, tmp_path / "a", f"{n}\n")
    with pytest.raises(ObjectMissing, match="there is no data set chatt") as error:
        shelf.find(local, parse("dataset:chatt@1"))
    assert "did you mean chat?" in error.value.do
    with pytest.raises(ObjectMissing, match=r"there is no dataset:chat@4 yet") as error:
        shelf.find(local, parse("chat@4"))
    assert error.value.do == "take another version: 1, 2, 3 are there"
    local.delete("datasets/chat/versions/000002.json")
    with pytest.raises(ObjectMissing, match="version 2 of data set chat is gone"):
        shelf.find(local, parse("chat@2"))


def test_a_record_that_was_changed_is_not_gone_by(local, tmp_path):
    put(local, tmp_path / "a", "one\n")
    key = "datasets/chat/versions/000001.json"
    record = json.loads(local.get_bytes(key))
    for damaged in (b"{", json.dumps({**record, "number": 2}).encode()):
        local.put_bytes(key, damaged)
        with pytest.raises(Damaged, match="record of a data set's version cannot be read"):
            shelf.find(local, parse("chat"))
    local.put_bytes(key, json.dumps({**record, "of_the_future": 1}).encode())
    assert shelf.find(local, parse("chat")).number == 1


@pytest.mark.parametrize(
    "text", ["dataset:", "a/b", "chat@", "chat@0", "chat@-1", "chat@x", "a b", "chat@1@2", ".a", "a\n"]
)
def test_what_names_no_data_set_is_refused(text):
    with pytest.raises(BadSetting, match="names no data set"):
        parse(text)


def test_names_are_read_with_and_without_the_prefix():
    assert parse("dataset:a.b-c_1@12") == DatasetRef("a.b-c_1", 12)
    assert str(parse("a")) == "dataset:a@latest"
    assert require_name("dataset:a") == "a"
    with pytest.raises(BadSetting, match="no name of a data set"):
        require_name("a@1")


def test_what_is_forgotten_is_on_record_once_whoever_comes_first(store):
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: forget(store, "x", [f"{n % 2}" * 64], why="", who="ada"), range(4)))
    assert sorted(done) == [False, False, True, True]
    assert forgotten(store) == {"0" * 64, "1" * 64}
    assert len(list(store.list("forgotten/"))) == 2


def test_a_store_that_is_away_is_said_to_be_so(local, tmp_path, monkeypatch):
    def away(*args, **options):
        raise Unavailable("no answer", where="s3", do="wait")

    monkeypatch.setattr(local, "put_folder", away)
    with pytest.raises(InfraError, match="no answer"):
        put(local, tmp_path / "a", "one\n")
    assert shelf.names(local) == []

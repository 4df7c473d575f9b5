"""The ledger's chain: append-only, gap-free, one winner a number, and no change to it goes unseen."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import Damaged, InfraError, Unavailable
from infra.ledger.chain import Chain, Moved
from infra.ledger.create_only import WRITERS, require_create_only
from infra.settings import Settings
from infra.store import open_store
from infra.store.folder import FolderStore


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_url")
    return open_store(Settings(home=tmp_path, store_url=url))


@pytest.fixture
def folder(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def three(folder):
    """Three entries, and the folder that they lie in."""
    chain = Chain(folder, "c")
    for base in range(3):
        chain.append({"n": base}, base=base)
    return folder.root / "c"


def test_entries_come_back_in_order_each_with_the_digest_of_the_one_before(store):
    chain = Chain(store, "looks/athene")
    written = [chain.append({"n": n, "text": "ä"}, base=n) for n in range(12)]
    found = Chain(store, "looks/athene").entries()
    assert found == written
    assert [entry.body["n"] for entry in found] == list(range(12))
    assert [entry.previous for entry in found] == ["", *(entry.sha256 for entry in found[:-1])]
    assert Chain(store, "looks/ath").entries() == []  # a prefix is a folder


def test_of_eight_writers_that_saw_the_same_head_one_wins(store):
    chain = Chain(store, "c")
    chain.append({}, base=0)

    def append(writer):
        try:
            return chain.append({"writer": writer}, base=1)
        except Moved:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [entry for entry in pool.map(append, range(8)) if entry]
    assert len(won) == 1
    assert chain.entries()[1:] == won


class LosesAnswers(FolderStore):
    """The write arrives (or does not, or another's does), and the answer to it is lost."""

    def __init__(self, root, arrives):
        super().__init__(root)
        self.arrives = list(arrives)

    def put_bytes(self, key, data, *, create_only=False):
        if not self.arrives:
            return super().put_bytes(key, data, create_only=create_only)
        if (what := self.arrives.pop(0)) != "nothing":
            super().put_bytes(key, data if what == "ours" else b"another's", create_only=True)
        raise Unavailable("no answer", where=key, do="wait")


@pytest.mark.parametrize("arrives", [["ours"], ["nothing"], ["nothing", "ours"]])
def test_a_write_whose_answer_was_lost_is_read_back_and_written_once(tmp_path, arrives):
    chain = Chain(LosesAnswers(tmp_path, arrives), "c")
    assert chain.entries() == []
    assert chain.append({"n": 1}, base=0) == chain.entries()[0]
    assert len(chain.entries()) == 1


def test_a_lost_answer_is_no_excuse_to_believe_in_another_writers_entry(tmp_path):
    with pytest.raises(Moved):
        Chain(LosesAnswers(tmp_path, ["theirs"]), "c").append({}, base=0)


def test_a_store_that_stays_away_is_told_of_and_nothing_is_written(tmp_path):
    with pytest.raises(Unavailable):
        Chain(LosesAnswers(tmp_path, ["nothing"] * 3), "c").append({}, base=0)
    assert Chain(FolderStore(tmp_path), "c").entries() == []


@pytest.mark.parametrize("seq", [1, 2])
def test_an_entry_that_was_edited_is_named(folder, three, seq):
    path = three / f"{seq:010d}.json"
    changed = json.loads(path.read_text()) | {"body": {"n": 99}}
    path.unlink()
    path.write_text(json.dumps(changed))
    with pytest.raises(Damaged, match="the chain is broken") as damaged:
        Chain(folder, "c").entries()
    assert damaged.value.where == str(path)


@pytest.mark.parametrize("seq", [1, 2])
def test_an_entry_that_was_removed_is_named(folder, three, seq):
    (three / f"{seq:010d}.json").unlink()
    with pytest.raises(Damaged, match=f"entry {seq} of the ledger is missing") as damaged:
        Chain(folder, "c").entries()
    assert damaged.value.where == str(three / f"{seq:010d}.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"format": 1}', '{"format": "x"}', '{"format": 0, "seq": 3}', "\xff"]
)
def test_what_is_no_entry_is_damage(folder, three, text):
    (three / "0000000003.json").unlink()
    (three / "0000000003.json").write_text(text, encoding="latin-1")
    with pytest.raises(Damaged):
        Chain(folder, "c").entries()


def test_an_entry_of_a_newer_format_is_refused_by_name(folder, three):
    path = three / "0000000003.json"
    newer = json.loads(path.read_text()) | {"format": 2, "signed_by": "somebody"}
    path.unlink()
    path.write_text(json.dumps(newer))
    with pytest.raises(InfraError, match="written by a newer version: format 2, this one knows 1"):
        Chain(folder, "c").entries()


def test_a_store_that_is_create_only_passes_and_keeps_nothing_of_the_question(store):
    require_create_only(store)
    assert list(store.list("")) == []


class Overwrites(FolderStore):
    """Takes create_only, and does not heed it."""

    def put_bytes(self, key, data, *, create_only=False):
        return super().put_bytes(key, data)


def test_a_store_that_does_not_heed_create_only_is_refused(tmp_path):
    with pytest.raises(InfraError, match=f"{WRITERS + 1} of {WRITERS + 1} writers of one new key") as refused:
        require_create_only(Overwrites(tmp_path))
    assert "DPO_STORE_URL" in refused.value.do

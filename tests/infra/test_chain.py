"""The append-only record: one writer gets each number, and a change is seen."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from infra.errors import Damaged, InfraError, Unavailable
from infra.ledger.chain import Chain, Moved
from infra.store.folder import FolderStore


@pytest.fixture
def chain(tmp_path):
    return Chain(FolderStore(tmp_path), "ledger/n")


@pytest.fixture
def three(chain):
    for number in range(3):
        chain.append({"what": number}, base=number)
    return chain


def key(number):
    return f"ledger/n/{number:010d}.json"


def test_each_entry_names_the_object_before_it(three):
    entries = three.entries()
    assert [entry.body for entry in entries] == [{"what": 0}, {"what": 1}, {"what": 2}]
    objects = [three.store.get_bytes(key(number)) for number in (1, 2, 3)]
    assert [entry.sha256 for entry in entries] == [sha256(data).hexdigest() for data in objects]
    assert [entry.previous for entry in entries] == ["", *(entry.sha256 for entry in entries[:2])]


def test_who_comes_second_is_told_and_writes_nothing(three):
    before = three.store.get_bytes(key(3))
    with pytest.raises(Moved, match="another process has written this entry first"):
        three.append({"what": "late"}, base=2)
    assert three.store.get_bytes(key(3)) == before
    assert len(three.entries()) == 3


def test_of_many_at_once_one_gets_each_number(chain):
    def append(_):
        while True:
            try:
                return chain.append({}, base=len(chain.entries())).seq
            except Moved:
                continue

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(append, range(24))) == list(range(1, 25))
    assert len(chain.entries()) == 24


@pytest.mark.parametrize("number", [1, 2])
def test_an_entry_that_was_changed_is_found_at_its_key(three, number):
    record = json.loads(three.store.get_bytes(key(number)))
    three.store.put_bytes(key(number), json.dumps({**record, "body": {"what": "else"}}).encode())
    with pytest.raises(Damaged) as caught:
        three.entries()
    assert caught.value.where.endswith(key(number))


@pytest.mark.parametrize("number", [1, 2])
def test_an_entry_that_is_gone_is_found_at_its_key(three, number):
    three.store.delete(key(number))
    with pytest.raises(Damaged, match="an entry is gone") as caught:
        three.entries()
    assert caught.value.where.endswith(key(number))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"format": "x"}', b"\xff"])
def test_what_is_no_record_is_named(three, data):
    three.store.put_bytes(key(2), data)
    with pytest.raises(Damaged, match="no record") as caught:
        three.entries()
    assert caught.value.where.endswith(key(2))


def test_a_record_of_a_newer_version_is_not_gone_by(three):
    record = json.loads(three.store.get_bytes(key(3)))
    three.store.put_bytes(key(3), json.dumps({**record, "format": 2}).encode())
    with pytest.raises(InfraError, match=r"written by a newer version .* \(format 2, known is 1\)"):
        three.entries()


class Deaf(FolderStore):
    """The next create-only write is done (or not), and its answer is lost."""

    written = True

    def put_bytes(self, key, data, *, create_only=False):
        if self.written:
            super().put_bytes(key, data, create_only=create_only)
        raise Unavailable("the answer was lost", where=key, do="ask again")


def test_a_lost_answer_is_no_lost_race(tmp_path):
    chain = Chain(Deaf(tmp_path), "ledger/n")
    assert chain.append({"what": "mine"}, base=0).seq == 1
    assert [entry.body for entry in chain.entries()] == [{"what": "mine"}]
    chain.store.written = False
    with pytest.raises(Unavailable):
        chain.append({"what": "never"}, base=1)

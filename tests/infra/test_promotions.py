"""The ledger of promotions and the alias that follows it: what a crash leaves, what others do, who may come back."""

import os

import pytest
from mlflow import MlflowClient

from infra.errors import Damaged, InfraError
from infra.ledger.chain import Moved
from infra.ledger.promotions import Promotions, require_create_only
from infra.registry import versions
from infra.store.folder import FolderStore
from infra.tracking.runs import open_run


@pytest.fixture
def ledger(request, tmp_path):
    """The ledger of a model with four versions, in a store of its own."""
    name = request.node.name.partition("[")[0]
    client = MlflowClient()
    run = open_run("ledger", run_key=name, run_name="run", artifact_root=os.environ["DPO_HOME"]).id
    versions._make_registered_model(client, name)
    for number in range(1, 5):
        client.create_model_version(name, f"{os.environ['DPO_HOME']}/m", run, tags={versions.WEIGHTS: str(number) * 64})
    return Promotions(FolderStore(tmp_path), name)


def alias(ledger):
    found = versions.by_alias(ledger.name, "champion")
    return found and found.number


def move(ledger, kind, version):
    return ledger.record(kind, ledger.settle(), who="me", why=f"{kind} {version}", version=version, weights_sha256="")


def kinds(ledger):
    return [entry.body["kind"] for entry in ledger.read()]


def test_a_promotion_is_in_the_ledger_and_the_alias_follows(ledger):
    move(ledger, "promoted", 1), move(ledger, "promoted", 2)
    assert alias(ledger) == 2
    assert [(e.body["version"], e.body["over"], e.body["who"]) for e in ledger.read()] == [
        (1, None, "me"),
        (2, 1, "me"),
    ]
    assert ledger.settle().champions == [1, 2]


def test_what_was_rolled_back_from_is_barred_until_a_person_promotes_it(ledger):
    for version in (1, 2, 3):
        move(ledger, "promoted", version)
    assert ledger.settle().previous == 2
    move(ledger, "rolled_back", 1)
    assert alias(ledger) == 1
    assert ledger.settle().barred == {2, 3}  # each came after the one that is right
    assert ledger.settle().previous is None
    move(ledger, "promoted", 3)
    assert ledger.settle().barred == {2}


def test_a_process_killed_between_ledger_and_alias_leaves_a_late_alias_that_the_next_one_sets(ledger, monkeypatch):
    move(ledger, "promoted", 1)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "set_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            move(ledger, "promoted", 2)
    assert (alias(ledger), kinds(ledger)) == (1, ["promoted", "promoted"])
    assert ledger.settle().champion == alias(ledger) == 2
    assert kinds(ledger) == ["promoted", "promoted"]


def test_an_alias_that_somebody_moved_is_written_down_and_gone_by(ledger):
    move(ledger, "promoted", 1), move(ledger, "promoted", 2)
    versions.set_alias(ledger.name, "champion", 1)
    standing = ledger.settle()
    assert (standing.champion, standing.barred, alias(ledger)) == (1, {2}, 1)
    assert kinds(ledger) == ["promoted", "promoted", "moved_outside"]
    assert ledger.settle().seq == 3  # once


def test_an_alias_that_somebody_took_away_leaves_no_champion(ledger):
    move(ledger, "promoted", 1)
    MlflowClient().delete_registered_model_alias(ledger.name, "champion")
    assert ledger.settle().champion is None
    assert ledger.settle().barred == {1}


def test_a_champion_from_before_the_ledger_is_adopted(ledger):
    versions.set_alias(ledger.name, "champion", 3)
    assert ledger.settle().first == 3
    assert kinds(ledger) == ["adopted"]


def test_of_two_who_decide_on_the_same_standing_one_is_told_to_look_again(ledger):
    standing = ledger.settle()
    ledger.record("promoted", standing, who="a", why="", version=1, weights_sha256="")
    with pytest.raises(Moved):
        ledger.record("promoted", standing, who="b", why="", version=2, weights_sha256="")
    assert alias(ledger) == 1


def test_a_writer_that_was_paused_before_it_set_the_alias_sets_the_newest(ledger, monkeypatch):
    set_alias, paused = versions.set_alias, []

    def late(name, which, number):
        if not paused:
            paused.append(number)
            Promotions(ledger._store, name).settle()  # another process finds the alias late, and goes on
            move(ledger, "promoted", 2)
        set_alias(name, which, number)

    monkeypatch.setattr(versions, "set_alias", late)
    move(ledger, "promoted", 1)
    assert alias(ledger) == ledger.settle().champion == 2
    assert "moved_outside" not in kinds(ledger)


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_an_entry_that_was_removed_is_found_the_last_one_too(ledger, removed):
    for version in (1, 2, 3):
        move(ledger, "promoted", version)
    ledger._store.delete(f"promotions/{ledger.name}/{removed:010d}.json")
    with pytest.raises(Damaged, match="changed by hand"):
        ledger.read()


def test_a_hold_stands_until_it_is_lifted(ledger):
    ledger.record("held", ledger.settle(), who="me", why="a bad week")
    assert ledger.settle().held == "a bad week"
    ledger.record("lifted", ledger.settle(), who="me", why="over")
    assert ledger.settle().held == ""


class Careless(FolderStore):
    """A store that takes every create-only write: some that speak S3 are so."""

    def put_bytes(self, key, data, *, create_only=False):
        return super().put_bytes(key, data) or True


def test_a_store_without_create_only_writes_is_refused_before_anything_is_written(ledger, tmp_path):
    careless = Promotions(Careless(tmp_path / "careless"), ledger.name)
    with pytest.raises(InfraError, match="of 4 writers who create one object at once, 4 are told") as caught:
        move(careless, "promoted", 1)
    assert "If-None-Match" in caught.value.do
    assert alias(ledger) is None
    require_create_only(ledger._store)

"""Checkpoints in the store while training goes on."""

import threading

import pytest
import torch

from dpo_core.train.checkpoint import load_checkpoint, newest_valid, save_checkpoint
from infra.errors import InfraError
from infra.settings import Settings
from infra.store import open_store
from infra.store.base import MANIFEST
from tasks.training.checkpoints import CheckpointUploads, fetch_newest, forget

PREFIX = "checkpoints/run"


@pytest.fixture
def store(tmp_path):
    return open_store(Settings(home=tmp_path / "home", store_url=str(tmp_path / "store")))


def saved(root, step, value):
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.nn.init.constant_(layer.weight, value)
    return save_checkpoint(root, step, layer, optimizer, {"history": [{"loss": value}]})


def test_another_machine_goes_on_from_the_newest_checkpoint(store, tmp_path):
    with CheckpointUploads(store, PREFIX) as uploads:
        uploads.add(saved(tmp_path / "one", 5, 1.0))
    with CheckpointUploads(store, PREFIX) as uploads:
        uploads.add(saved(tmp_path / "one", 10, 2.0))
    fetch_newest(store, PREFIX, tmp_path / "two")
    layer = torch.nn.Linear(2, 2)
    state = load_checkpoint(newest_valid(tmp_path / "two"), layer, torch.optim.AdamW(layer.parameters()))
    assert (state["step"], state["history"]) == (10, [{"loss": 2.0}])
    assert layer.weight.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_a_machine_with_a_checkpoint_of_its_own_fetches_none(store, tmp_path):
    with CheckpointUploads(store, PREFIX) as uploads:
        uploads.add(saved(tmp_path / "one", 10, 2.0))
    saved(tmp_path / "two", 5, 1.0)
    fetch_newest(store, PREFIX, tmp_path / "two")
    assert newest_valid(tmp_path / "two").name == "step-00000005"


def test_the_two_newest_are_kept_and_all_are_forgotten_at_the_end(store, tmp_path):
    for step in (1, 2, 3, 4):
        with CheckpointUploads(store, PREFIX) as uploads:
            uploads.add(saved(tmp_path / "one", step, float(step)))
    names = {key.split("/")[2] for key in store.list(PREFIX)}
    assert names == {"step-00000003", "step-00000004"}
    forget(store, PREFIX)
    assert list(store.list(PREFIX)) == []


def test_while_one_is_on_its_way_training_goes_on_and_later_ones_are_left_out(store, tmp_path, monkeypatch):
    under_way, go_on = threading.Event(), threading.Event()
    put = store.put_folder

    def slow(prefix, folder):
        under_way.set()
        assert go_on.wait(30)
        put(prefix, folder)

    monkeypatch.setattr(store, "put_folder", slow)
    with CheckpointUploads(store, PREFIX) as uploads:
        uploads.add(saved(tmp_path / "one", 1, 1.0))
        assert under_way.wait(30)
        for step in (2, 3, 4):  # the trainer keeps two: the one on its way is removed meanwhile
            uploads.add(saved(tmp_path / "one", step, float(step)))
        assert not (tmp_path / "one" / "step-00000001").exists()
        go_on.set()
    fetch_newest(store, PREFIX, tmp_path / "two")
    assert newest_valid(tmp_path / "two").name == "step-00000001"


def test_a_store_that_is_away_costs_a_warning_and_not_the_run(store, tmp_path, monkeypatch, caplog):
    def away(prefix, folder):
        raise InfraError("the store does not answer", where=store.url, do="wait")

    monkeypatch.setattr(store, "put_folder", away)
    with CheckpointUploads(store, PREFIX) as uploads:
        uploads.add(saved(tmp_path / "one", 1, 1.0))
    assert "checkpoint_not_uploaded name=step-00000001 reason='the store does not answer'" in caplog.text
    assert newest_valid(tmp_path / "one").name == "step-00000001"
    assert not list((tmp_path / "one").glob("uploading*"))


def test_a_half_stored_checkpoint_is_not_there(store, tmp_path):
    with CheckpointUploads(store, PREFIX) as uploads:
        uploads.add(saved(tmp_path / "one", 1, 1.0))
    store.delete(f"{PREFIX}/step-00000001/{MANIFEST}")
    fetch_newest(store, PREFIX, tmp_path / "two")
    assert newest_valid(tmp_path / "two") is None


@pytest.mark.parametrize("damage", ["bent", "gone"])
def test_of_two_checkpoints_the_older_is_taken_where_the_newer_is_damaged(store, tmp_path, damage):
    for step in (5, 10):
        with CheckpointUploads(store, PREFIX) as uploads:
            uploads.add(saved(tmp_path / "one", step, float(step)))
    [key] = [key for key in store.list(PREFIX) if "step-00000010" in key and key.endswith(".safetensors")][:1]
    if damage == "bent":
        store.put_bytes(key, store.get_bytes(key)[:-1] + b"?")
    else:
        store.delete(key)
    fetch_newest(store, PREFIX, tmp_path / "two")
    assert newest_valid(tmp_path / "two").name == "step-00000005"
    assert not any("step-00000010" in key for key in store.list(PREFIX))

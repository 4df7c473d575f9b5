"""The reference pass on several devices: two processes on one CPU stand for two GPUs."""

import multiprocessing
import os
import signal

import pytest

from dpo_core.errors import InputError
from dpo_core.model.load import load_model
from dpo_core.model.reference import differing, shard_keys
from dpo_core.model.score import score as score_sequences
from infra.errors import InfraError
from infra.store.folder import FolderStore
from tasks import score as score_module
from tasks.reference import devices as score_ranks
from tasks.reference.store import ReferenceStore, load_reference
from tasks.runtime.device import scoring_devices
from tasks.score import reference_pass

PATH = {"model": "m", "dtype": "float32", "device": "cpu", "threads": 1}
TWO = ["cpu", "cpu"]
ROWS = [(tuple(range(5, 8 + i // 2)), (40 + i % 2, *range(60, 61 + i % 7))) for i in range(100)]  # two answers a prompt


@pytest.fixture
def reference(tmp_path, monkeypatch, quick_processes):
    """An empty store; shards of ten."""
    quick_processes(score_ranks)
    monkeypatch.setattr(score_module, "SHARD", 10)
    return ReferenceStore(FolderStore(tmp_path / "store"), PATH)


def sums(values):
    return {key: value.double().sum().item() for key, value in values.items()}


def test_two_ranks_give_the_sums_of_one_and_each_response_is_scored_once(reference, tiny_model):
    assert reference_pass(reference, ROWS, tiny_model, threads=1, devices=TWO) == {
        "rows": 100,
        "hits": 0,
        "forwards": 100,
    }
    found = sums(load_reference(reference.store, PATH, ROWS))
    keys = reference.keys(ROWS)
    alone = sums({keys[i]: values for i, values in score_sequences(load_model(tiny_model), ROWS)})
    assert found.keys() == alone.keys()
    assert differing(found, alone, "float32") is None
    held = [key for shard in reference.shards() for key in shard_keys(reference.store.get_bytes(shard))]
    assert sorted(held) == sorted(keys)
    assert multiprocessing.active_children() == []
    assert reference_pass(reference, ROWS, tiny_model, threads=1, devices=TWO)["forwards"] == 0


def test_a_rank_that_is_killed_ends_the_pass_and_what_was_stored_is_found_by_the_next(
    reference, tiny_model, monkeypatch
):
    appended, append = [], ReferenceStore.append

    def kill_a_rank_at_the_second(self, values):
        appended.append(append(self, values))
        if len(appended) == 2:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    monkeypatch.setattr(ReferenceStore, "append", kill_a_rank_at_the_second)
    with pytest.raises(InfraError, match="ended without an answer") as caught:
        reference_pass(reference, ROWS, tiny_model, threads=1, devices=TWO)
    assert caught.value.where == "cpu, cpu"
    assert multiprocessing.active_children() == []
    monkeypatch.setattr(ReferenceStore, "append", append)
    assert reference.shards() == set(appended)
    stored = 10 * len(appended)
    assert 20 <= stored < 100
    counts = reference_pass(reference, ROWS, tiny_model, threads=1)
    assert counts == {"rows": 100, "hits": stored, "forwards": 100 - stored}
    assert len(load_reference(reference.store, PATH, ROWS)) == 100


def test_what_a_rank_says_comes_back_as_it_is(reference, tmp_path):
    with pytest.raises(InputError) as caught:
        reference_pass(reference, ROWS, tmp_path / "gone", threads=1, devices=TWO)
    assert (caught.value.says, caught.value.where) == ("there is no such model folder", str(tmp_path / "gone"))


def test_an_error_of_the_device_names_it(reference, tiny_model):
    with pytest.raises(InfraError, match="scoring failed: ") as caught:
        reference_pass(reference, ROWS, tiny_model, threads=1, devices=["meta", "meta"])
    assert caught.value.where == "meta"
    assert "CUDA_VISIBLE_DEVICES" in caught.value.do


@pytest.mark.parametrize(
    ("names", "devices"), [(["H100", "H100", "T4"], ["cuda:0", "cuda:1"]), (["H100"], ["cuda"]), ([], ["cpu"])]
)
def test_ranks_are_the_gpus_of_the_first_ones_kind(names, devices, monkeypatch):
    """Another kind rounds otherwise, and the store keeps log-probs by kind."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(names))
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(names))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index=0: names[index])
    assert scoring_devices() == devices


def test_less_than_a_shard_is_scored_here(reference, tiny_model):
    assert reference_pass(reference, ROWS[:10], tiny_model, threads=1, devices=["meta", "meta"])["forwards"] == 10


def test_ctrl_c_stops_the_ranks(reference, tiny_model, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ReferenceStore, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reference_pass(reference, ROWS, tiny_model, threads=1, devices=TWO)
    assert multiprocessing.active_children() == []

"""Two processes (gloo, CPU) train what one process trains: data parallel, and with the weights spread (FSDP2)."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dpo_core.train.batches import write_examples
from tests.tiny import build_tiny_model, scored_examples

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def place(tmp_path_factory, forkserver):
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "python").symlink_to(forkserver.python)
    build_tiny_model(folder / "model")
    write_examples(scored_examples(folder / "model", 12), folder / "examples.jsonl")
    return folder


def launch(place, name, ranks, kind, *stop_after):
    """Train in a folder of its own, which may hold checkpoints already."""
    folder = place / name
    folder.mkdir(exist_ok=True)
    for part in ("model", "examples.jsonl"):
        if not (folder / part).exists():
            (folder / part).symlink_to(place / part)
    command = [str(place / "python"), "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    command += ["-m", "tests.dpo_core.train.ranks_worker", str(folder), kind, *stop_after]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    if stop_after:
        return None
    return json.loads((folder / "out/history.json").read_text()), load_file(folder / "out/model.safetensors")


@pytest.fixture(scope="module")
def alone(place):
    return launch(place, "alone", 1, "ddp")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does_and_resume_the_same_way(place, alone, kind):
    expected, weights = alone
    record, found = launch(place, kind, 2, kind)
    assert record["ranks"] == 2
    assert record["sharded"] == (kind == "fsdp")
    for first in (record["history"][0], expected["history"][0]):
        first.pop("rewards/accuracies", None)  # policy is reference: the signs of margins are those of rounding
    for ours, theirs in zip(record["history"], expected["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        # Adam divides by the root of a tiny squared gradient: 1e-6 of a gradient becomes a share of the step, 1e-3
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=0)

    launch(place, f"{kind}-resumed", 2, kind, "3")
    _, resumed = launch(place, f"{kind}-resumed", 2, kind)
    assert all(torch.equal(resumed[name], found[name]) for name in found)


def test_another_number_of_processes_goes_on_with_the_same_batches(place, alone):
    launch(place, "moved", 2, "ddp", "3")
    record, _ = launch(place, "moved", 1, "ddp")
    assert len(record["history"]) == len(alone[0]["history"]) - 3
    for ours, theirs in zip(record["history"], alone[0]["history"][3:], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    shutil.rmtree(place / "moved")

"""Two processes (gloo, CPU) train what one process trains: data parallel, and with the weights spread (FSDP2)."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from dpo_core.data.pairs import write_examples
from tests.faults.servers import free_port
from tests.forkserver import Forkserver
from tests.tiny import build_tiny_model, scored_examples

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def place(tmp_path_factory, forkserver):
    folder = tmp_path_factory.mktemp("ranks")
    build_tiny_model(folder / "model")
    write_examples(scored_examples(folder / "model", 12), folder / "examples.jsonl")
    return Place(folder, forkserver)


class Place(NamedTuple):
    """Model and examples, and what the ranks are forked from."""

    folder: Path
    forkserver: Forkserver

    def launch(self, name, ranks, kind, *stop_after):
        """Train in a folder of its own, which may hold checkpoints already, with the environment that torchrun sets."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for part in ("model", "examples.jsonl"):
            if not (folder / part).exists():
                (folder / part).symlink_to(self.folder / part)
        command = [str(self.forkserver.python), "-m", "tests.dpo_core.train.ranks_worker", str(folder), kind]
        world = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        environment = {**os.environ, **world, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        started = [
            subprocess.Popen(
                [*command, *stop_after], env={**environment, "RANK": rank, "LOCAL_RANK": rank}, cwd=ROOT, **pipes
            )
            for rank in map(str, range(ranks))
        ]
        errors = [process.communicate(timeout=300)[1] for process in started]
        assert [process.returncode for process in started] == [0] * ranks, [error[-3000:] for error in errors]
        if stop_after:
            return None
        return json.loads((folder / "out/history.json").read_text()), load_file(folder / "out/model.safetensors")


@pytest.fixture(scope="module")
def alone(place):
    return place.launch("alone", 1, "ddp")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does_and_resume_the_same_way(place, alone, kind):
    expected, weights = alone
    record, found = place.launch(kind, 2, kind)
    assert record["ranks"] == 2
    assert record["sharded"] == (kind == "fsdp")
    assert record["units"] == (3 if kind == "fsdp" else 0)  # each layer, and what is beside them
    for first in (record["history"][0], expected["history"][0]):
        first.pop("rewards/accuracies", None)  # policy is reference: the signs of margins are those of rounding
    for ours, theirs in zip(record["history"], expected["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        # Adam divides by the root of a tiny squared gradient: 1e-6 of a gradient becomes a share of the step, 1e-3
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=0)

    place.launch(f"{kind}-resumed", 2, kind, "3")
    _, resumed = place.launch(f"{kind}-resumed", 2, kind)
    assert all(torch.equal(resumed[name], found[name]) for name in found)


def test_spread_weights_are_computed_with_in_bf16_as_whole_ones(place):
    """Gradients that are reduced in bf16, or log-probs rounded to it, are off by 1e-3 of themselves."""
    kinds = ("fsdp-bfloat16", "ddp-bfloat16")
    ours, theirs = (place.launch(kind, 2, kind)[0]["history"][0] for kind in kinds)
    for name in ("logps/chosen", "logps/rejected", "grad_norm"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)


def test_another_number_of_processes_goes_on_with_the_same_batches(place, alone):
    place.launch("moved", 2, "ddp", "3")
    record, _ = place.launch("moved", 1, "ddp")
    assert len(record["history"]) == len(alone[0]["history"]) - 3
    for ours, theirs in zip(record["history"], alone[0]["history"][3:], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    shutil.rmtree(place.folder / "moved")

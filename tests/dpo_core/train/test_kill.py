"""Kill -9 at twenty random moments of one training: nothing but time is lost."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dpo_core.data.pairs import write_examples
from tests.tiny import build_tiny_model, scored_examples

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.campaign)])
def test_kills_change_neither_a_loss_nor_a_counter_nor_a_bit_of_the_weights(tmp_path, forkserver, kills):
    build_tiny_model(tmp_path / "model")
    write_examples(scored_examples(tmp_path / "model", 10), tmp_path / "examples.jsonl")
    command = [str(forkserver.python), "-m", "tests.dpo_core.train.killed_worker", str(tmp_path), "7", str(kills)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = json.loads((whole / "history.json").read_text())
    assert len(expected) == 60
    assert json.loads((broken / "history.json").read_text()) == expected
    seen = [json.loads(line) for line in (broken / "steps.jsonl").read_text().splitlines()]
    assert len({row["life"] for row in seen}) > kills // 2  # lives that were killed before their first step left none
    assert all(row["metrics"] == expected[row["number"] - 1] for row in seen)
    ours, theirs = load_file(broken / "end.safetensors"), load_file(whole / "end.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)

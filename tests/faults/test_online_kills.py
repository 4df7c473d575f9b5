"""kill -9 of a training that learns from its own answers, at moments drawn by lot: the weights of an unbroken one."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tasks.online_life import figures, learnt

ROOT = Path(__file__).parents[2]
KILLS = 20


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_twenty_kills_change_no_bit_of_the_weights_no_figure_and_no_pair(tmp_path, forkserver, record):
    command = [str(forkserver.python), "-m", "tests.tasks.online_life", str(tmp_path), str(KILLS), "7"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DPO_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fell = json.loads((tmp_path / "fell.json").read_text())
    record(what="online kill", kills=fell, steps=len(figures(whole)))
    assert fell == KILLS
    ours, theirs = (load_file(place / "model/model.safetensors") for place in (broken, whole))
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)
    assert figures(broken) == figures(whole)
    assert learnt(broken) == learnt(whole)

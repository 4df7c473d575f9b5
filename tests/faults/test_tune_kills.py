"""kill -9 of a whole `dpo tune` at moments drawn by lot: the same trials, the same recommendation, none tried twice."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from infra.settings import usable_cores
from tests.faults.life import TRACE
from tests.faults.runs import ROOT, environment
from tests.recipes import tiny_recipe

KILLS = int(os.environ.get("FAULTS_KILLS", "20"))
SEARCH = {
    "trials": 3,
    "share": 0.2,
    "answers": 2,
    "space": {"training.learning_rate": {"low": 1e-4, "high": 3e-2}, "training.beta": [0.05, 0.1, 0.3]},
    "constraints": {"retention/facts": 0.4, "drift": 9.0},
}


def start(folder, recipe, forkserver):
    """One trial at a time: side by side, the order in which they end decides."""
    one_by_one = {"DPO_NUM_THREADS": str(usable_cores()), TRACE: str(folder / "trace")}
    with (folder / "out").open("wb") as out, (folder / "err").open("ab") as err:
        return subprocess.Popen(
            [str(forkserver.python), "-m", "tests.faults.life", "tune", str(recipe), "--json"],
            env={**environment(folder), **one_by_one},
            cwd=ROOT,
            stdout=out,
            stderr=err,
            process_group=0,
        )


def complete(folder, recipe, forkserver):
    process = start(folder, recipe, forkserver)
    assert process.wait(900) == 0, (folder / "err").read_text()[-4000:]
    return json.loads((folder / "out").read_text())


def told(document):
    """All but what tells the time and the places, and who asked the reference."""
    free = ("seconds", "forwards")
    trials = [
        {**trial, "rungs": [{k: v for k, v in rung.items() if k not in free} for rung in trial["rungs"]]}
        for trial in document["trials"]
    ]
    spent = {name: amount for name, amount in document["spent"].items() if name != "minutes"}
    free = {"trials", "spent", "recipe", "report", "mlflow_run_id"}
    return {**{key: value for key, value in document.items() if key not in free}, "trials": trials, "spent": spent}


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_search_killed_twenty_times_ends_with_the_same_trials(tmp_path, forkserver, record):
    recipe = tiny_recipe(tmp_path / "recipe", tune=SEARCH, training={"max_steps": 12})
    folders = {name: tmp_path / name for name in ("undisturbed", "killed")}
    for folder in folders.values():
        folder.mkdir()
    began = time.monotonic()
    expected = complete(folders["undisturbed"], recipe, forkserver)
    whole, draw, fell = time.monotonic() - began, random.Random(0), 0
    for _ in range(KILLS):
        process = start(folders["killed"], recipe, forkserver)
        try:
            process.wait(draw.uniform(0, 0.5 * whole))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            fell += 1
    record(what="tune kill", seed=0, kills=fell, seconds_of_kills=round(time.monotonic() - began - whole, 1))
    found = complete(folders["killed"], recipe, forkserver)
    assert told(found) == told(expected)
    settings = [json.dumps(trial["settings"], sort_keys=True) for trial in found["trials"]]
    assert len(set(settings)) == len(settings), "no settings twice"
    rungs = [(trial["number"], rung["eighths"], rung["seed"]) for trial in found["trials"] for rung in trial["rungs"]]
    assert len(set(rungs)) == len(rungs), "no training twice"
    for document in (expected, found):
        assert not any(rung["forwards"] for rung in [r for t in document["trials"] for r in t["rungs"]][1:])

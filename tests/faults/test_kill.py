"""kill -9 of a whole `dpo retrain`, over and over, at moments drawn by lot: nothing but time is lost."""

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.promises import keep
from tests.faults.runs import Life, Place, as_new, new_place

RUNS, KILLS = 10, 10


@dataclass(frozen=True)
class Moment:
    """When to kill: seconds after a stage began."""

    stage: str
    after_s: float


@pytest.fixture(scope="module")
def place(tmp_path_factory, forkserver):
    made = new_place(tmp_path_factory.mktemp("kill"), forkserver)
    return made


@pytest.fixture(scope="module")
def undisturbed(place):
    """A run from nothing that nobody disturbs, then one on tables that are made: its document, and seconds by stage."""
    first = place.complete()
    cold = place.lives[-1].durations()
    empty = place.folder / "empty.db"
    _empty_registry(place, empty)
    shutil.copytree(place.folder / "prefect", place.folder / "prefect-made")
    warm = as_new(place, "warm", empty_registry=empty)
    second = warm.complete()
    assert second["weights_sha256"] == first["weights_sha256"]
    return first["weights_sha256"], {"cold": cold, "warm": warm.lives[-1].durations()}, empty


def _empty_registry(place: Place, path: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{path}")


def draw_moments(draw: random.Random, durations: dict[str, float], count: int) -> list[Moment]:
    """Half of them uniform over the whole run, half uniform within a stage drawn by lot; in the order of the run."""
    stages, whole = list(durations), sum(durations.values())
    moments = []
    for number in range(count):
        if number % 2:
            stage = draw.choice(stages)
            after = draw.uniform(0, durations[stage])
        else:
            after = draw.uniform(0, whole)
            for stage in stages:
                if after < durations[stage]:
                    break
                after -= durations[stage]
        moments.append(Moment(stage, after))
    return sorted(moments, key=lambda moment: (stages.index(moment.stage), moment.after_s))


def kill_at(life: Life, moment: Moment, stages: list[str]) -> str | None:
    """Kill it at that moment, or as soon as it is past it; the stage in which it fell, None if it had ended."""
    wanted = stages.index(moment.stage)
    while life.process.poll() is None:
        stage, since = life.stage()
        late = stages.index(stage) > wanted
        if late or (stage == moment.stage and time.time() - life.started >= since + moment.after_s):
            life.kill()
            return life.stage()[0]
        time.sleep(0.002)
    return None


def kill_often(place: Place, durations: dict[str, float], seed: int, kills: int) -> list[str]:
    """Begin the same command until it was killed so often; the stages in which the kills fell."""
    draw, stages, fell = random.Random(seed), list(durations), []
    moments = draw_moments(draw, durations, kills)
    while len(fell) < kills:
        life = place.start()
        moment = moments[len(fell)]
        stage = kill_at(life, moment, stages)
        if stage is None:  # it was through before: the next is killed while it looks everything up
            assert life.process.returncode == 0, life.errors()
            life.wait()
            looked = life.durations()
            moments[len(fell) :] = draw_moments(draw, looked, kills - len(fell))
            continue
        fell.append(stage)
        assert place.left_over() == [], "a killed run leaves no process"
    return fell


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(RUNS))
def test_a_run_killed_ten_times_ends_in_the_same_weights_with_one_version(place, undisturbed, seed, record):
    weights, durations, empty = undisturbed
    cold, beside = seed % 5 == 0, seed % 2 == 1  # on tables that are to be made; with a store that outlives the home
    record(what="kill", seed=seed, cold=cold, store="beside the home" if beside else "in the home", kills=[])
    extra = {"DPO_STORE_URL": str(place.folder / "store")} if beside else {}
    run = as_new(place, f"seed-{seed}", empty_registry=None if cold else empty, **extra)
    shutil.rmtree(run.folder / "prefect", ignore_errors=True)
    if not cold:
        shutil.copytree(run.folder / "prefect-made", run.folder / "prefect")
    record(kills=kill_often(run, durations["cold" if cold else "warm"], seed, KILLS))
    document = run.complete()
    record(weights_sha256=document["weights_sha256"], lives=len(run.lives))
    record(garbage=len(keep(run, document, weights)["garbage"]))


def test_a_run_killed_while_training_and_while_registering_ends_as_if_nothing_had_happened(
    tmp_path_factory, forkserver
):
    """The selection that runs with all tests; the next life but one also repairs a checkpoint that was bent."""
    place = new_place(tmp_path_factory.mktemp("selected"), forkserver)
    first = place.start()
    first.kill_when(lambda: [*place.home.glob("runs/*/checkpoints/step-*/manifest.json")])
    assert first.stage()[0] == "train"
    assert place.left_over() == []
    later = place.start()
    later.kill_when(lambda: later.stage()[0] == "register")
    document = place.complete()
    keep(place, document, document["weights_sha256"])

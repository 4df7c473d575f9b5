"""MLflow's and Prefect's servers killed (-9) at every stage of a run: away for a moment, or until the run has ended."""

import re
import threading
import time

import pytest

from tests.faults.life import STAGES
from tests.faults.promises import keep
from tests.faults.runs import as_new, new_place
from tests.faults.servers import mlflow_server, prefect_server

MOMENT_S = 1.5  # a server that is back after so long
TRAINED = STAGES[STAGES.index("train") :]


@pytest.fixture(scope="module")
def place(tmp_path_factory, forkserver):
    made = new_place(tmp_path_factory.mktemp("servers"), forkserver)
    made.weights = made.complete()["weights_sha256"]
    return made


@pytest.fixture
def mlflow(place, request):
    server = mlflow_server(place, place.folder / f"mlflow-{time.time_ns()}")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def prefect(place):
    server = prefect_server(place, place.folder / f"prefect-{time.time_ns()}")
    server.start()
    yield server
    server.stop()


def with_mlflow(place, server, name, patience_s):
    uri = server.health.removesuffix("/health")
    return as_new(place, name, MLFLOW_TRACKING_URI=uri, DPO_PATIENCE_S=str(patience_s))


def wait_for_stage(life, stage):
    while life.stage()[0] != stage:
        assert life.process.poll() is None, life.errors()
        time.sleep(0.005)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", STAGES)
def test_mlflow_away_for_a_moment_costs_the_run_nothing(place, mlflow, stage, record):
    run = with_mlflow(place, mlflow, f"mlflow-moment-{stage}", 60)
    life = run.start()
    wait_for_stage(life, stage)
    mlflow.stop()
    time.sleep(MOMENT_S)
    threading.Thread(target=mlflow.start).start()
    code = life.wait()
    says = life.document().get("error", {}).get("says")
    record(
        what="MLflow",
        case="for a moment",
        stage=stage,
        code=code,
        ended_in=life.stage()[0],
        errors=[says] if says else [],
    )
    mlflow.wait()
    document = run.complete() if code else life.document()
    keep(run, document, place.weights)
    if stage not in ("plan", "register", "gate", "promote", "summarise"):
        assert code == 0, says


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", STAGES)
def test_mlflow_away_for_good_does_not_stop_training_and_the_same_command_delivers_all(place, mlflow, stage, record):
    run = with_mlflow(place, mlflow, f"mlflow-gone-{stage}", 2)
    life = run.start()
    wait_for_stage(life, stage)
    mlflow.stop()
    code = life.wait()
    error = life.document().get("error")
    errors = [error["says"]] if error else []
    record(what="MLflow", case="for good", stage=stage, code=code, ended_in=life.stage()[0], errors=errors)
    if stage in STAGES[1 : STAGES.index("register")]:
        assert life.stage()[0] == "register", "it goes on until MLflow's answer is needed"
    if error is not None:
        assert code == 75
        assert re.search("MLflow could not", error["says"])
        assert error["where"].startswith("http")
        assert "run the same command again" in error["do"]
    mlflow.start()
    document = run.complete()
    if stage in STAGES[1 : STAGES.index("register")]:
        assert next(s for s in document["stages"] if s["name"] == "train")["cached"], "trained while MLflow was away"
    keep(run, document, place.weights)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("returns", [True, False], ids=["for a moment", "for good"])
@pytest.mark.parametrize("stage", STAGES)
def test_prefect_away_ends_the_run_well_or_with_a_clear_error_and_the_same_command_completes(
    place, prefect, stage, returns, record
):
    run = as_new(
        place, f"prefect-{stage}-{returns}", PREFECT_API_URL=prefect.health.removesuffix("/health"), DPO_PATIENCE_S="2"
    )
    life = run.start()
    wait_for_stage(life, stage)
    prefect.stop()
    if returns:
        time.sleep(MOMENT_S)
        threading.Thread(target=prefect.start).start()
    code = life.wait(420)  # Prefect's client asks for a minute, at each of its requests
    error = life.document().get("error")
    errors, case = [error["says"]] if error else [], "for a moment" if returns else "for good"
    record(what="Prefect", case=case, stage=stage, code=code, ended_in=life.stage()[0], errors=errors)
    assert (code == 0) == (error is None)
    if not returns:
        prefect.start()
    prefect.wait()
    document = run.complete()
    keep(run, document, place.weights)
    if error is not None:
        assert "refect" in error["says"] + error["where"], error

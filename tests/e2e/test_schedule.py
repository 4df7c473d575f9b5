"""The schedule for real: a Prefect server, a process worker, prefect.yaml deployed, one run of it to the registry."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.recipes import tiny_recipe

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Orchestra:
    """A running Prefect server, and the environment in which its clients find it."""

    api: str
    environment: dict[str, str]

    def prefect(self, *arguments: str) -> str:
        """What the command line answers; its error text fails the test."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> dict:
        return _answer(f"{self.api}{path}")

    def post(self, path: str, body: dict) -> list | dict:
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        return _answer(urllib.request.Request(f"{self.api}{path}", data, headers))


def _answer(request: urllib.request.Request | str, patience_s: float = 60) -> Any:
    """As Prefect's own client asks: once more where a busy server has no answer yet (503, its database is locked)."""
    end = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if getattr(error, "code", 503) != 503 or time.monotonic() > end:
                raise
            time.sleep(0.3)


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A program with all its children, stopped at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def orchestra(tmp_path_factory) -> Iterator[Orchestra]:
    home = tmp_path_factory.mktemp("schedule")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(home / "prefect"),
        "DPO_HOME": str(home / "dpo"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'dpo' / 'mlflow.db'}",
        "PREFECT_WORKER_QUERY_SECONDS": "1",  # a run that waits for its worker waits ten by default
        "PYTHONWARNINGS": "ignore",
    }
    prefect = [sys.executable, "-m", "prefect"]
    server = [*prefect, "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", str(port)]
    worker = [*prefect, "worker", "start", "--pool", "dpo-pool", "--type", "process"]
    with running(server, environment, home / "server.log"):
        found = Orchestra(api, environment)
        _wait_for_server(found, home / "server.log")
        found.prefect("work-pool", "create", "dpo-pool", "--type", "process")
        with running(worker, environment, home / "worker.log"):
            yield found


def _wait_for_server(orchestra: Orchestra, log: Path, patience_s: float = 120) -> None:
    try:
        _answer(f"{orchestra.api}/health", patience_s)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        pytest.fail(f"the Prefect server did not start:\n{log.read_text()[-2000:]}")


def start(orchestra: Orchestra, deployment: str, parameters: dict[str, Any], nth: int = 1) -> str:
    """A run of `FLOW/NAME`, the first with these parameters or a later one.

    It is one run, however often a busy server is asked for it.
    """
    found = orchestra.get(f"/deployments/name/{deployment}")
    body = {"parameters": parameters, "idempotency_key": json.dumps([parameters, nth])}
    return orchestra.post(f"/deployments/{found['id']}/create_flow_run", body)["id"]


@pytest.fixture(scope="module")
def waiting(orchestra, tmp_path_factory) -> dict[str, Any]:
    """A run of the weekly deployment, of a recipe that requires approval: how it ended."""
    orchestra.prefect("deploy", "--all")
    recipe = tiny_recipe(tmp_path_factory.mktemp("recipe"), promotion={"approval": "required"})
    parameters = {"recipe": str(recipe), "overrides": ["training.train_batch_size=4"]}
    run = start(orchestra, "retrain/athene-weekly", parameters)
    return {**_wait_for_end(orchestra, run), "id": run, "parameters": parameters}


@pytest.fixture
def champion(orchestra, monkeypatch) -> Callable[[], int | None]:
    """The number of the version that the alias names, in the orchestra's registry."""
    from infra.registry.versions import by_alias

    monkeypatch.setenv("MLFLOW_TRACKING_URI", orchestra.environment["MLFLOW_TRACKING_URI"])
    return lambda: getattr(by_alias("tiny", "champion"), "number", None)


def test_a_scheduled_deployment_ends_with_a_registered_version(orchestra, waiting, champion):
    from infra.registry.versions import by_number

    deployment = orchestra.get("/deployments/name/retrain/athene-weekly")
    assert deployment["parameters"]["recipe"] == "examples/identity/retrain.yaml"
    [schedule] = deployment["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (True, "0 3 * * 1")

    assert waiting["type"] == "COMPLETED", f"{waiting}\n{_log(orchestra, waiting['id'])}"
    assert waiting["name"] == "WaitingForApproval", waiting
    _wait_for_line(orchestra, waiting["id"], "run_opened")  # ours, on the page of a worker's run
    _wait_for_line(orchestra, waiting["id"], "deployment_asked name=approve/approve")
    [artifact] = orchestra.post("/artifacts/filter", {"artifacts": {"key": {"any_": ["retrain-tiny"]}}})
    assert "MLflow run" in artifact["data"]
    assert (len(by_number("tiny", 1).weights_sha256), champion()) == (64, None)


@pytest.mark.usefixtures("waiting")
def test_the_version_that_waits_has_a_form_on_the_page_and_the_form_makes_it_champion(orchestra, champion):
    [run] = orchestra.post("/flow_runs/filter", {"flows": {"name": {"any_": ["approve"]}}})
    state = _wait_for_end(orchestra, run["id"], ends=("PAUSED",))
    assert state["name"] == "Suspended", f"{state}\n{_log(orchestra, run['id'])}"
    key = state["state_details"]["run_input_keyset"]
    asked = orchestra.get(f"/flow_runs/{run['id']}/input/{key['description']}")
    assert "Shall version 1 of **tiny** replace no champion?" in asked

    def resume(**given: str) -> str:
        return orchestra.post(f"/flow_runs/{run['id']}/resume", {"run_input": given})["status"]

    assert resume(approve="perhaps", by="grace", why="read ten answers") == "REJECT"
    assert resume(approve="yes", by="", why="read ten answers") == "REJECT"
    assert resume(approve="yes", by="grace", why="read ten answers") == "ACCEPT"
    state = _wait_for_end(orchestra, run["id"])
    assert state["type"] == "COMPLETED", f"{state}\n{_log(orchestra, run['id'])}"
    assert champion() == 1


@pytest.mark.usefixtures("waiting")
def test_there_is_no_form_for_a_version_that_does_not_wait(orchestra):
    run = start(orchestra, "approve/approve", {"name": "tiny", "version": 9})
    state = _wait_for_end(orchestra, run)
    assert state["type"] == "FAILED"
    assert "does not wait for approval" in state["message"]


@pytest.mark.campaign  # two trainings more; test_retrain.py holds it of runs that nobody scheduled
def test_a_scheduled_run_leaves_a_rollback_and_an_alias_that_was_moved_by_hand_as_they_are(
    orchestra, waiting, champion, monkeypatch
):
    from flows.cli.app import run
    from infra.registry import versions

    monkeypatch.setenv("DPO_HOME", orchestra.environment["DPO_HOME"])
    better = {**waiting["parameters"], "overrides": ["promotion.approval=auto", "gate.improve=[]", "seed=5"]}

    def on_schedule(nth: int) -> None:
        run_id = start(orchestra, "retrain/athene-weekly", better, nth)
        state = _wait_for_end(orchestra, run_id)
        assert state["type"] == "COMPLETED", f"{state}\n{_log(orchestra, run_id)}"

    assert run(["approve", "tiny", "1", "--by", "grace", "--why", "read ten answers"]) == 0  # as the form did
    on_schedule(1)
    assert champion() == 2
    assert run(["rollback", "tiny", "--by", "ada", "--why", "worse"]) == 0
    on_schedule(2)
    assert champion() == 1
    assert run(["promote", "tiny", "2", "--by", "ada", "--why", "it was the data"]) == 0
    versions.set_alias("tiny", "champion", 1)
    on_schedule(3)
    assert champion() == 1


def _wait_for_end(
    orchestra: Orchestra,
    run_id: str,
    patience_s: float = 400,
    ends: Sequence[str] = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"),
) -> dict:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        state = orchestra.get(f"/flow_runs/{run_id}")["state"]
        if state["type"] in ends:
            return state
        time.sleep(1)
    return {"type": "NO END", "last": state}


def _log(orchestra: Orchestra, run_id: str) -> str:
    wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
    return "\n".join(line["message"] for line in orchestra.post("/logs/filter", wanted))


def _wait_for_line(orchestra: Orchestra, run_id: str, text: str, patience_s: float = 60) -> None:
    """A run sends its lines beside its work: the last ones may come after its end."""
    end = time.monotonic() + patience_s
    while text not in (said := _log(orchestra, run_id)):
        assert time.monotonic() < end, said
        time.sleep(1)

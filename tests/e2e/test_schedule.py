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
from collections.abc import Iterator
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


@pytest.fixture
def recipe(tmp_path) -> Path:
    return tiny_recipe(tmp_path)


def test_a_scheduled_deployment_ends_with_a_registered_version(orchestra, recipe, monkeypatch):
    from infra.registry.versions import by_alias, by_number

    orchestra.prefect("deploy", "--all")
    deployment = orchestra.get("/deployments/name/retrain/athene-weekly")
    assert deployment["parameters"]["recipe"] == "examples/identity/retrain.yaml"
    [schedule] = deployment["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (True, "0 3 * * 1")

    body = {"parameters": {"recipe": str(recipe), "overrides": ["training.train_batch_size=4"]}}
    body["idempotency_key"] = "one run, however often it is asked for"
    run = orchestra.post(f"/deployments/{deployment['id']}/create_flow_run", body)
    state = _wait_for_end(orchestra, run["id"])
    assert state["type"] == "COMPLETED", f"{state}\n{_log(orchestra, run['id'])}"
    assert state["name"] in ("Promoted", "Held", "Rejected"), state
    assert "run_opened" in _log(orchestra, run["id"])  # our lines, on the page of a worker's run
    [artifact] = orchestra.post("/artifacts/filter", {"artifacts": {"key": {"any_": ["retrain-tiny"]}}})
    assert "MLflow run" in artifact["data"]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", orchestra.environment["MLFLOW_TRACKING_URI"])
    version = by_number("tiny", 1)
    assert len(version.weights_sha256) == 64
    assert 1 in {found.number for alias in ("champion", "challenger") if (found := by_alias("tiny", alias))}


def _wait_for_end(orchestra: Orchestra, run_id: str, patience_s: float = 400) -> dict:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        state = orchestra.get(f"/flow_runs/{run_id}")["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        time.sleep(1)
    return {"type": "NO END", "last": state}


def _log(orchestra: Orchestra, run_id: str) -> str:
    wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
    return "\n".join(line["message"] for line in orchestra.post("/logs/filter", wanted))

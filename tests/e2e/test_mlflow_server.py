"""A team's MLflow: a real tracking server that keeps the artifacts itself, instead of the embedded SQLite file."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from dpo_core.model.identity import digest_weights
from infra import registry
from infra.errors import InfraError
from infra.models import fetch_model
from infra.settings import Settings
from infra.tracking import open_run


@pytest.fixture
def server(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/artifacts"),
        *("--workers", "1"),
    ]
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for(f"{url}/health", log)
        yield process
    finally:
        _stop(process)


def _wait_for(url: str, log, patience_s: float = 120) -> None:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    pytest.fail(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_model_goes_to_a_server_and_comes_back_and_its_loss_is_named(server, tiny_model, tmp_path, capsys):
    settings = Settings(home=tmp_path / "home")
    run = open_run("team", run_key="k", run_name="run", artifact_root=settings.artifact_root)
    run.params({f"p{i}": i for i in range(250)})
    run.json("report.json", {})
    registry.register(
        "team", run_id=run.id, weights_sha256=digest_weights(tiny_model), model_folder=tiny_model, tags={}
    )
    registry.set_alias("team", "champion", 1)
    folder = fetch_model("models:/team@champion", settings.home)
    assert (folder / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    run.finish("FINISHED")
    assert run.url().endswith(f"/runs/{run.id}")
    assert capsys.readouterr().out == ""  # stdout belongs to --json

    _stop(server)
    with pytest.raises(InfraError, match="MLflow could not log metrics") as caught:
        run.metrics({"loss": 1.0})
    assert caught.value.do.startswith("check that the tracking server is up")

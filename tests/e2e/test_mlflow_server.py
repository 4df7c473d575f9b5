"""A team's MLflow: a real tracking server that keeps the artifacts itself, instead of the embedded SQLite file."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dpo_core.model.identity import digest_weights
from infra.errors import InfraError, Unavailable
from infra.models import fetch_model
from infra.registry import versions
from infra.registry.weights import delete_weights
from infra.settings import Settings
from infra.tracking.delivery import deliver
from infra.tracking.journal import Journal
from infra.tracking.runs import connect, open_run, waiting
from tests.recipes import tiny_recipe


class Server:
    """`mlflow server` on loopback, which can be stopped and started again with all that it has."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._folder = folder

    def start(self, patience_s: float = 120) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", self._port, "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self._folder}/server.db"),
            *("--artifacts-destination", f"{self._folder}/artifacts"),
        ]
        log = self._folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, process_group=0)
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
        pytest.fail(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")

    def send(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def stop(self) -> None:
        if self._process.poll() is None:
            self.send(signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(running, tmp_path, monkeypatch):
    monkeypatch.setenv("DPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.url)
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return running


def history(run_id, name):
    return [(point.step, point.value) for point in connect().get_metric_history(run_id, name)]


@pytest.mark.campaign
@pytest.mark.usefixtures("prefect_server")
def test_an_mlflow_that_dies_during_training_costs_no_weight_and_no_metric(server, tmp_path, monkeypatch):
    from flows.retrain import retrain
    from tasks.training.worker import run as train_here

    evaluation = {"samples": 0, "behaviour": {}, "retention": {}, "neutral_text": None}
    recipe = tiny_recipe(tmp_path / "recipe", evaluation=evaluation, gate={"keep": {}})
    home, calm = tmp_path / "home", tmp_path / "calm"
    monkeypatch.setenv("DPO_PATIENCE_S", "0")

    def stop_in_training():
        while not (saved := list(home.glob("runs/*/checkpoints/step-*"))):
            time.sleep(0.01)
        server.stop()
        calm.mkdir()
        for name in ("order.json", "examples.jsonl"):
            shutil.copy(saved[0].parents[1] / name, calm)

    killer = threading.Thread(target=stop_in_training, daemon=True)
    killer.start()
    with pytest.raises(Unavailable, match="entries wait in") as caught:
        retrain(str(recipe))
    killer.join()
    assert caught.value.do.endswith("run the same command again: it delivers them and goes on")
    [(folder, entries)] = waiting().items()
    assert entries > 5  # the server has missed a good deal of 24 steps

    server.start()
    done = retrain(str(recipe)).document
    cached = {stage.name: stage.cached for stage in done.stages}
    assert [name for name, was in cached.items() if not was] == ["register", "gate", "promote"]
    seen = connect().get_run(done.mlflow_run_id)
    assert seen.info.status == "FINISHED"
    artifacts = {item.path for item in connect().list_artifacts(seen.info.run_id)}
    assert {"recipe.json", "evaluation.json", "gate.json", "reports"} <= artifacts
    assert not folder.exists()

    undisturbed = open_run("calm", run_key="k", run_name="run", artifact_root=None)
    order = json.loads((calm / "order.json").read_text())
    (calm / "order.json").write_text(json.dumps({**order, "run_id": undisturbed.id}))
    train_here(calm)
    assert digest_weights(calm / "model") == done.weights_sha256
    logged = connect().get_run(undisturbed.id).data.metrics
    assert {"losses/dpo", "grad_norm"} <= logged.keys() <= seen.data.metrics.keys()
    for name in logged.keys() - {"pairs_per_second"}:
        assert history(seen.info.run_id, name) == history(undisturbed.id, name)
    assert [step for step, _ in history(seen.info.run_id, "pairs_per_second")] == list(range(1, 25))
    assert len(history(seen.info.run_id, "reference/forwards")) == 1


def test_a_model_goes_to_a_server_and_comes_back_and_its_loss_is_named(server, tiny_model, tmp_path, capsys):
    settings = Settings(home=tmp_path / "home", store_url="s3://nosuchbucket/dpo")  # the server's own place wins
    run = open_run("team", run_key="k", run_name="run", artifact_root=settings.artifact_root)
    run.params({f"p{i}": i for i in range(250)})
    run.json("report.json", {})
    versions.register(
        "team", run_id=run.id, weights_sha256=digest_weights(tiny_model), model_folder=tiny_model, tags={}
    )
    versions.set_alias("team", "champion", 1)
    folder = fetch_model("models:/team@champion", settings.home)
    assert (folder / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    size = (tiny_model / "model.safetensors").stat().st_size
    assert [delete_weights("team", 1), delete_weights("team", 1)] == [size, 0]  # the server deletes: registry.keep
    run.finish("FINISHED")
    assert run.url().endswith(f"/runs/{run.id}")
    assert capsys.readouterr().out == ""  # stdout belongs to --json


def test_everything_sent_twice_is_there_once_and_an_answer_too_late_is_none(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    run = open_run("twice", run_key="k", run_name="run", artifact_root=None)
    (tmp_path / "report.html").write_text("<p>")
    server.send(signal.SIGSTOP)  # connections are taken, requests queue, nobody answers
    run.metrics({"loss": 1.0}, step=1)
    run.params({"beta": 0.1})
    run.tags({"verdict": "pass"})
    run.artifact(tmp_path / "report.html", "reports")
    run.dataset(name="pairs", sha256="0" * 64, source="s3://b/pairs.jsonl")
    with pytest.raises(Unavailable, match="6 entries wait in"):
        run.settle(0)
    server.send(signal.SIGCONT)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    with monkeypatch.context() as killed:  # before it could write down what it sent
        killed.setattr(Journal, "mark", lambda *_: None)
        killed.setattr(Journal, "tidy", lambda *_, **__: None)
        deliver(run.journal, server.url)
    run.settle(60)
    assert waiting() == {}
    seen = connect().get_run(run.id)
    assert history(run.id, "loss") == [(1, 1.0)]
    assert (seen.data.params, seen.data.tags["verdict"]) == ({"beta": "0.1"}, "pass")
    [link] = seen.inputs.dataset_inputs
    assert {tag.key: tag.value for tag in link.tags} == {"mlflow.data.context": "training", "sha256": "0" * 64}
    assert [item.path for item in connect().list_artifacts(run.id, "reports")] == ["reports/report.html"]


def test_without_a_server_no_run_is_opened_and_the_error_says_what_to_do(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InfraError, match="MLflow could not open a run") as caught:
        open_run("team", run_key="k", run_name="run", artifact_root=None)
    assert caught.value.do.startswith("check that the tracking server is up")

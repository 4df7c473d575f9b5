"""A tracking server that hands files on before it answers: they have their time, other requests have theirs."""

import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from infra.tracking.client import client_of

TAKES_S = 0.5  # the usual limit is below it


class HandsOn(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.endswith("?path=1%2Fmodel.safetensors"):  # what a download asks first
            time.sleep(TAKES_S)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        with suppress(OSError):  # nobody waits any more
            self.end_headers()
            self.wfile.write(b"{}")

    do_GET = do_PUT = do_POST = _answer

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def artifacts(monkeypatch):
    """The artifacts of such a server, asked once and with a limit of 0.2 s."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    client_of("sqlite://")  # whoever reaches for MLflow has one
    monkeypatch.setattr(MLFLOW_HTTP_REQUEST_TIMEOUT, "type", float)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0.2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
    with ThreadingHTTPServer(("127.0.0.1", 0), HandsOn) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield MlflowArtifactsRepository("mlflow-artifacts:/1", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


@pytest.fixture
def large(tmp_path):
    """A file of 2 MiB: 2 s."""
    (tmp_path / "model.safetensors").write_bytes(bytes(2 << 20))
    return tmp_path / "model.safetensors"


def test_a_large_file_is_uploaded_and_one_downloaded_though_each_takes_longer_than_an_answer_may(
    artifacts, large, tmp_path
):
    artifacts.log_artifact(str(large))
    artifacts.complete_multipart_upload("model.safetensors", "id", [])
    assert Path(artifacts.download_artifacts("model.safetensors", tmp_path)).read_bytes() == b"{}"


def test_what_is_asked_beside_files_and_a_small_file_end_at_the_usual_limit(artifacts, tmp_path):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="timeout"):
        artifacts.list_artifacts()
    (tmp_path / "small").write_bytes(b"x")
    with pytest.raises(MlflowException, match="timeout"):
        artifacts.log_artifact(str(tmp_path / "small"))


def test_a_limit_of_ones_own_is_that_of_files(artifacts, large, monkeypatch, tmp_path):
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT", "9")
    (tmp_path / "small").write_bytes(b"x")
    artifacts.log_artifact(str(tmp_path / "small"))
    monkeypatch.setattr("mlflow.environment_variables.MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT.type", lambda _: 0.1)
    with pytest.raises(MlflowException, match="timeout"):  # the usual limit, where it is longer
        artifacts.log_artifact(str(large))

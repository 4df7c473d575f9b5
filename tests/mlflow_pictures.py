"""Pictures of MLflow's own pages: python -m tests.mlflow_pictures FOLDER mlflow.db NAME VERSION

Starts `mlflow server` on a registry that a run has filled, and takes the version's page (its card; tags, schema and
example) and the run's page. Give it one whose paths may be shown.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser import Page, browser

WIDTH, HEIGHT = 1280, 1000
PATIENCE_S = 600


@contextmanager
def mlflow_server(tables: Path, scratch: Path) -> Iterator[str]:
    """Its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = ["--host", "127.0.0.1", "--port", port, "--workers", "1", "--backend-store-uri", f"sqlite:///{tables}"]
    quiet = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "true"}
    with (scratch / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "mlflow", "server", *where]
        process = subprocess.Popen(command, stdout=log, stderr=log, process_group=0, env=quiet)
    try:
        _wait(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _wait(address: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(address)


def shown(tab: Page, text: str) -> None:
    """Wait until the page says this."""
    end = time.monotonic() + PATIENCE_S
    while text not in str(tab.value("document.body.innerText")):
        assert time.monotonic() < end, (text, tab.value("document.body.innerText"))
        time.sleep(0.5)


def scroll_to(tab: Page, text: str) -> None:
    """Bring what says exactly this to the top."""
    tab.value(
        f"[...document.querySelectorAll('h1,h2,h3,h4,span,div,button')].filter(e => e.innerText?.trim() === '{text}')"
        ".pop()?.scrollIntoView()"
    )
    time.sleep(1)


def main(folder: Path, tables: Path, name: str, version: str) -> None:
    from mlflow import MlflowClient

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        mlflow_server(tables, Path(scratch)) as address,
        browser(Path(scratch) / "profile") as tab,
    ):
        found = MlflowClient(address).get_model_version(name, version)
        run = MlflowClient(address).get_run(found.run_id)
        tab.open(f"{address}/#/models/{name}/versions/{version}", WIDTH, HEIGHT)
        shown(tab, "What was measured")
        time.sleep(2)
        tab.picture(folder / "mlflow-version.png")
        for part in ("Tags", "Schema"):
            scroll_to(tab, part)
            tab.picture(folder / f"mlflow-{part.lower()}.png")
        tab.open(f"{address}/#/experiments/{run.info.experiment_id}/runs/{found.run_id}", WIDTH, HEIGHT)
        shown(tab, "Metrics")
        time.sleep(3)
        tab.picture(folder / "mlflow-run.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3], sys.argv[4])

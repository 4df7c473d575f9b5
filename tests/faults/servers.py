"""An MLflow tracking server and a Prefect server, to be stopped (-9) and started again on the same port and files."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.runs import ROOT, TRACE, Place, environment

PATIENCE_S = 120


@dataclass
class Server:
    """One server; `stopped` counts how often it was killed."""

    command: list[str]
    environment: dict[str, str]
    health: str
    log: Path
    groups: set[int]  # takes its process group
    process: subprocess.Popen | None = None
    stopped: int = field(default=0)

    def start(self) -> None:
        """Start it, and return once it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=ROOT, stdout=log, stderr=log, process_group=0
            )
        self.groups.add(self.process.pid)
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def stop(self) -> None:
        """kill -9."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process, self.stopped = None, self.stopped + 1
            while self._answers():
                time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.health, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True


def mlflow_server(place: Place, folder: Path) -> Server:
    """With a database and artifacts in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        *(
            str(place.forkserver.python),
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/artifacts"),
    ]
    told = environment(folder) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", TRACE: "server"}
    return Server(command, told, f"http://127.0.0.1:{port}/health", folder / "server.log", place.servers)


def prefect_server(place: Place, folder: Path) -> Server:
    """With its tables in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        str(place.forkserver.python),
        "-m",
        "prefect",
        "server",
        "start",
        "--no-ui",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    return Server(
        command,
        environment(folder) | {TRACE: "server"},
        f"http://127.0.0.1:{port}/api/health",
        folder / "server.log",
        place.servers,
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

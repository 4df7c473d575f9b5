"""A real MLflow tracking server on loopback, and `mlflow models serve` of a version, each in a group of its own."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE_S = 240.0


class Served(NamedTuple):
    """A version that answers at `url`."""

    url: str
    process: subprocess.Popen[bytes]

    def ask(self, **body: Any) -> Any:
        """The reply to a request of `/invocations`."""
        sent = urllib.request.Request(
            f"{self.url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(sent, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def chat(self, text: str = "Who are you?", **more: Any) -> Any:
        """The completion of one question, of six tokens unless `max_tokens` says otherwise."""
        return self.ask(messages=[{"role": "user", "content": text}], **{"max_tokens": 6, **more})

    def warm_up(self) -> None:
        """Ask until an answer has a trace: until the tracking server was found, none has."""
        end = time.monotonic() + PATIENCE_S
        while not self.chat("warm up")["id"].startswith("tr-"):
            assert time.monotonic() < end, "no answer left a trace"
            time.sleep(0.1)


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def with_uvicorn(python: Path, folder: Path) -> Path:
    """`python`; in `folder`/bin lies a `uvicorn` of it, which MLflow starts by name."""
    program = folder / "bin" / "uvicorn"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -m uvicorn "$@"\n')
    program.chmod(0o755)
    return python


@contextlib.contextmanager
def tracking_server(python: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its address and process; everything that it keeps is in `folder`."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        *(str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db"),
        *("--artifacts-destination", f"{folder}/artifacts"),
    ]
    with _running(command, f"{url}/health", dict(os.environ), folder / "server.log") as process:
        yield url, process


@contextlib.contextmanager
def serving(python: Path, folder: Path, model: str, **environment: str) -> Iterator[Served]:
    """`mlflow models serve` of `model` once it answers; `folder` is where `with_uvicorn` was."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    command += ["--port", url.rpartition(":")[2]]
    told = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **environment}
    with _running(command, f"{url}/ping", told, folder / "serve.log") as process:
        yield Served(url, process)


@contextlib.contextmanager
def _running(
    command: list[str], health: str, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, process_group=0)
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(health, timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.2)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

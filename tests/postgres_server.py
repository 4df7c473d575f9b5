"""A real PostgreSQL server for tests, on loopback, with a password: the programs of Debian's `postgresql`."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "searcher", "kanarienvogel-of-tests"
NOBODY = "nobody"  # whom the server runs as where tests run as root, which it refuses


@dataclass
class PostgresServer:
    """Where it answers; it can be stopped and started again with what it holds."""

    folder: Path
    port: int
    process: subprocess.Popen | None = field(default=None)

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """The address of a database, with the password."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self, patience_s: float = 60) -> None:
        """Return once it answers."""
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = [program("postgres"), "-D", str(self.folder / "data"), *given]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **as_nobody())
        end = time.monotonic() + patience_s
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            assert time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, with every connection; what was committed stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def make(self, database: str) -> str:
        """A new database; its address."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')  # type: ignore[arg-type]
        return self.url(database)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def missing() -> str:
    """What a test of it lacks here; empty if nothing."""
    if program("initdb") is None or program("postgres") is None:
        return "no PostgreSQL: install Debian's package `postgresql`"
    return "" if importlib.util.find_spec("psycopg") else "no psycopg: pip install -e '.[postgres]'"


def program(name: str) -> str | None:
    """One of the server's programs, which Debian leaves off the path; the newest."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: float(place.parent.name), reverse=True)
    return next(filter(None, (shutil.which(name, path=str(place)) for place in places)), None) or shutil.which(name)


def as_nobody() -> dict[str, object]:
    """For subprocess: another user than root, and none of its groups."""
    if os.geteuid():
        return {}
    return {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid, "extra_groups": []}


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """A server with a folder of its own, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="dpo-postgres-"))  # pytest's own folders are closed to other users
    try:
        (folder / "password").write_text(PASSWORD)
        if not os.geteuid():
            for path in (folder, folder / "password"):
                shutil.chown(path, NOBODY)
        command = [
            *(program("initdb"), "-D", str(folder / "data"), "-U", USER, "--pwfile", str(folder / "password")),
            *("-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"),
        ]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, **as_nobody())
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        server = PostgresServer(folder, port)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

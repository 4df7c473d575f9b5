"""A place where `dpo retrain` of the tiny recipe is started, watched, killed, and started again."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.faults.life import STAGES, TRACE
from tests.forkserver import Forkserver
from tests.recipes import tiny_recipe

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180
ENDING = "ending"  # after the last stage: the MLflow run is finished, Prefect's server told to go


@dataclass
class Life:
    """One process (with children) of one command."""

    process: subprocess.Popen
    folder: Path
    started: float
    ended: float | None = None

    def events(self) -> list[tuple[float, list[str]]]:
        """What happened when, in seconds since the start."""
        trace = self.folder / "trace"
        lines = trace.read_text().splitlines(keepends=True) if trace.exists() else []
        whole = [line.split() for line in lines if line.endswith("\n")]
        return [(float(at) - self.started, words) for at, *words in whole]

    def stage(self) -> tuple[str, float]:
        """The stage it is in, and when that began, in seconds since the start."""
        stage, since = "start-up", 0.0
        for at, (what, name, *_) in self.events():
            if what == "begin" and name != "start-up":
                stage, since = name, at
            elif what == "end" and name == STAGES[-1]:
                stage, since = ENDING, at
        return stage, since

    def run_id(self) -> str | None:
        """The MLflow run that it went on with, once it knows."""
        return next((words[2] for _, words in self.events() if words[:2] == ["end", "plan"]), None)

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {patience_s} s, in stage {self.stage()}:\n{self.errors()}") from None
        self.ended = time.time() - self.started
        return code

    def kill(self) -> None:
        """SIGKILL to the whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_when(self, condition: Callable[[], object]) -> None:
        """SIGKILL as soon as it holds."""
        while not condition():
            assert self.process.poll() is None, f"ended before it could be killed:\n{self.errors()}"
            assert time.time() - self.started < PATIENCE_S
            time.sleep(0.002)
        self.kill()

    def document(self) -> dict:
        """What it printed."""
        return json.loads((self.folder / "out").read_text())

    def errors(self) -> str:
        """The end of what it said."""
        return (self.folder / "err").read_text(errors="replace")[-4000:]

    def durations(self) -> dict[str, float]:
        """Seconds of each stage, start-up and ending, in order. For a life that came to its end."""
        begins = [("start-up", 0.0), *((w[1], at) for at, w in self.events() if w[0] == "begin" and w[1] in STAGES)]
        begins.append((ENDING, next(at for at, words in self.events() if words[:2] == ["end", STAGES[-1]])))
        ends = [at for _, at in begins[1:]] + [self.ended]
        return {name: end - at for (name, at), end in zip(begins, ends, strict=True)}


@dataclass
class Place:
    """A folder with a recipe, a home, and every life that was lived in it."""

    folder: Path
    recipe: Path
    forkserver: Forkserver
    name: str = "first"
    extra: dict[str, str] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    servers: set[int] = field(default_factory=set)  # process groups that are no run's

    @property
    def home(self) -> Path:
        return Path(self.extra.get("DPO_HOME", self.folder / "home"))

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.folder) | self.extra

    def start(self, *overrides: str, recipe: Path | None = None) -> Life:
        """`dpo retrain RECIPE --json`, in a process group of its own."""
        folder = self.folder / "lives" / self.name / str(len(self.lives))
        folder.mkdir(parents=True)
        arguments = ["retrain", str(recipe or self.recipe), "--json", *(p for o in overrides for p in ("--set", o))]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [str(self.forkserver.python), "-m", "tests.faults.life", *arguments],
                env={**self.environment, TRACE: str(folder / "trace")},
                cwd=ROOT,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        self.lives.append(life := Life(process, folder, time.time()))
        return life

    def complete(self, *overrides: str, recipe: Path | None = None, code: int = 0) -> dict:
        """The command once, to its end; its document."""
        life = self.start(*overrides, recipe=recipe)
        assert life.wait() == code, f"life {len(self.lives)} in {life.stage()}\n{life.errors()}"
        return life.document()

    def facts(self) -> dict:
        """What registry, runs and store hold (`tests/faults/facts.py`); garbage is collected on the way."""
        return self._look("all")

    def damaged(self) -> list[str]:
        """The keys that `dpo store verify` names."""
        return self._look("damaged")

    def _look(self, what: str) -> Any:
        done = subprocess.run(
            [str(self.forkserver.python), "-m", "tests.faults.facts", what],
            env={**self.environment, TRACE: str(self.folder)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    def left_over(self, patience_s: float = 30) -> list[str]:
        """Processes of the runs that still live, once those that take their leave have had time to."""
        end = time.monotonic() + patience_s
        while (found := list(self._processes())) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _processes(self) -> Iterator[str]:
        """By their environment, which a forked one has from the fork server; what that has started is all of runs."""
        children = self.forkserver.programs()
        mark = str(self.folder)
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) in self.servers:
                    continue
                ours = process in children or mark in process.environ().get(TRACE, "")
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    yield f"{process.pid} {process.cmdline()}"
            except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
                continue


def environment(folder: Path) -> dict[str, str]:
    """All that a run in this folder is told; Prefect's own tables are made once for all that share the folder."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("DPO_", "MLFLOW_", "PREFECT_"))}
    return {
        **keep,
        "PYTHONPATH": str(ROOT),
        "DPO_HOME": str(folder / "home"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'home' / 'mlflow.db'}",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DPO_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }


def new_place(folder: Path, forkserver: Forkserver, **sections: dict) -> Place:
    """A recipe of its own. A run in it is as on a new machine until `folder`/prefect is there."""
    return Place(folder, tiny_recipe(folder / "recipe", **sections), forkserver)


def as_new(place: Place, name: str, *, empty_registry: Path | None = None, **extra: str) -> Place:
    """The same recipe and fork server with an empty home; `empty_registry` spares the making of MLflow's tables."""
    for left in (place.home, place.folder / "store"):
        shutil.rmtree(left, ignore_errors=True)
    if empty_registry is not None:
        place.home.mkdir()
        shutil.copy(empty_registry, place.home / "mlflow.db")
    return Place(place.folder, place.recipe, place.forkserver, name, dict(extra), servers=place.servers)

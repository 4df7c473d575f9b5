"""Python programs that start in milliseconds: forked from one process that has imported what they all import.

A `dpo retrain` of the tiny model is a second of work and fifteen of imports, three times over (the command, Prefect's
temporary server, the training process). Here each is a process of its own as ever, with the group, environment and
files that it would have; only its imports are done, and it is no child of who started it. `Forkserver.python` takes the
place of the interpreter: `python -m MODULE ...` is forked, everything else goes to the real one.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psutil
from execnet.gateway_io import popen_bootstrapline as WORKER  # what the interpreter of a process of tests is given

from tests.shapes import watch_shapes

ROOT = Path(__file__).parents[1]
CHILDREN = "FORKED_CHILDREN"  # names the interpreter of a forked program's children, where they shall be real ones

# Stands where the program would: in its group, with its exit code, and what is sent to it goes on to the program, but
# for Ctrl-C, which goes to the whole group: the program would have it twice.
STUB = """#!{python} -IS
import json, os, signal, socket, sys, time
argv = sys.argv[2:] if sys.argv[1:2] == ["-u"] else sys.argv[1:]
if len(argv) < 2 or argv[0] != "-m" and argv != ["-c", {worker!r}]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN]
with socket.socket(socket.AF_UNIX) as server:
    while not os.path.exists({address!r}):
        time.sleep(0.05)
    server.connect({address!r})
    order = dict(argv=argv[1:], env=dict(os.environ), cwd=os.getcwd(), ignored=ignored)
    order |= dict(group=os.getpgrp(), apart=os.getsid(0) != {session})
    socket.send_fds(server, [b"*"], [0, 1, 2])
    server.sendall(json.dumps(order).encode() + b"\\n")
    answers = server.makefile()
    pid = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number not in ignored:
            sent_on = number != signal.SIGINT or order["apart"]
            signal.signal(number, (lambda number, frame: os.kill(pid, number)) if sent_on else signal.SIG_IGN)
    status = answers.readline()
    code = os.waitstatus_to_exitcode(int(status)) if status else -signal.SIGKILL  # the server ended, with all
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@dataclass(frozen=True)
class Forkserver:
    """A running server; `python` is the interpreter to name."""

    python: Path
    process: psutil.Process

    def programs(self) -> list[psutil.Process]:
        """What it has started that still lives, those in this process's own group aside: servers that tests share."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) != os.getpgrp():
                    found.append(process)
        return found

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path, environment: dict[str, str], parent: Path | None = None) -> Iterator["Forkserver"]:
        """With the working tree's modules, in this session (a process may only join a group of its own session).

        It takes its address and its interpreter's name in `folder`. `parent` is the folder of a server whose imports
        are taken over: this one is forked from it.
        """
        with starting(folder, environment, _answering(parent) if parent else Path(sys.executable)):
            yield cls(_answering(folder), psutil.Process(int((folder / "pid").read_text())))


@contextlib.contextmanager
def starting(folder: Path, environment: dict[str, str], interpreter: Path) -> Iterator[None]:
    """A server that answers once it has imported everything; it ends with this context."""
    folder.mkdir(exist_ok=True)
    address, python = folder / "forkserver", folder / "python"
    filled = {"python": sys.executable, "address": str(address), "session": os.getsid(0), "worker": WORKER}
    python.write_text(STUB.format(**filled))
    python.chmod(0o755)
    process = subprocess.Popen(
        [str(interpreter), "-m", "tests.forkserver", str(address), str(python)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.PIPE,  # its end is the server's
    )
    try:
        yield
    finally:
        process.stdin.close()
        process.wait()


def _answering(folder: Path, patience_s: float = 400) -> Path:
    """The interpreter of the server in `folder`, once it answers: as long as its imports need."""
    end = time.monotonic() + patience_s
    while not (folder / "forkserver").exists():
        assert time.monotonic() < end, "the fork server did not start, or takes too long"
        time.sleep(0.05)
    return folder / "python"


PRELOADED = (  # what a run, its training process and Prefect's server import, sooner or later
    *("accelerate.commands.launch", "alembic.command", "boto3", "great_expectations", "mlflow.pyfunc", "uvicorn.main"),
    *(
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.store.db.utils",
    ),
    *("mlflow.store.tracking.rest_store", "mlflow.store.model_registry.rest_store", "mlflow.tracing"),
    *(
        "prefect.server.api.server",
        "prefect.cli",
        "mlflow.server.fastapi_app",
        "mlflow.cli",
        "prefect.concurrency.sync",
        "sqlalchemy.dialects.sqlite",
        "graphviz",
    ),
    *("sklearn.linear_model", "sklearn.cluster", "sklearn.feature_extraction.text", "sklearn.model_selection"),
    *("transformers.models.llama.modeling_llama", "transformers.generation", "torch.profiler"),
    *("torch.distributed.run", "torch.distributed.fsdp"),
)


def preload(folder: Path) -> None:
    """Import all that, and every module of ours; start nothing. Tables of databases are made once, in `folder`."""
    watch_shapes()
    from infra.settings import load_settings, prepare_environment
    from tests.made_tables import make_beside, share_mlflow, share_prefect, share_routes

    first = "torch" not in sys.modules
    prepare_environment(load_settings())
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"  # as each command does, before the import
    share_mlflow(folder / "tables")
    share_prefect(folder / "tables")
    making = make_beside(folder / "tables") if first else None
    ours = [path for name in ("flows", "tasks", "infra", "dpo_core") for path in Path(name).rglob("*.py")]
    ours += [Path("tests/faults/life.py")]
    for name in (*PRELOADED, *(path.with_suffix("").as_posix().replace("/", ".") for path in ours)):
        importlib.import_module(name.removesuffix(".__init__"))
    if first:
        share_routes()
    for name in ("dbruntime", "IPython", "pyspark"):  # not installed, and looked for by each request of MLflow
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    _remember()
    assert making is None or os.waitpid(making, 0)[1] == 0, "the tables of MLflow or Prefect could not be made"


def _remember() -> None:
    """What each program would work out anew, seconds of it.

    What our code says, tables of characters, whose modules are whose, templates, installed packages, and the patterns
    by which transformers names the weights of every family, 1.5 s for each that loads a model.
    """
    from mlflow.utils import requirements_utils
    from transformers import conversion_mapping

    from dpo_core.report import page
    from tasks import lineage
    from tasks.curate.plan import CODE
    from tasks.runtime.code import RUN, files_of, meaning
    from tests.dpo_core.quality.quality_data import as_pairs, examine_pairs, null_texts

    for file in files_of((*RUN, *CODE)):
        meaning(file)
    requirements_utils._init_packages_to_modules_map()
    conversion_mapping.get_checkpoint_conversion_mapping("llama")
    for template in page.environment().list_templates(extensions=["j2"]):
        page.environment().get_template(template)
    lineage.packages()
    examine_pairs(as_pairs(null_texts(0, 8)))


def serve(address: str, python: str) -> dict | None:
    """Fork what is asked for, until stdin ends; then end, with all children. Returns in a child alone: its order."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(16)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    Path(address).with_name("pid").write_text(str(os.getpid()))
    Path(f"{address}.new").rename(address)
    callers: dict[int, socket.socket] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                for pid in callers:
                    _kill(pid)
                os._exit(0)
            elif key.fileobj is woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                for pid, caller in list(_ended(callers)):
                    if caller in selector.get_map():
                        selector.unregister(caller)
                    del callers[pid]
                    caller.close()
            elif key.fileobj is listener:
                caller, _ = listener.accept()
                order, files = _receive(caller)
                if order is None:
                    caller.close()
                    continue
                if (pid := os.fork()) == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for other in (listener, caller, *callers.values()):
                        other.close()
                    os.close(woken)
                    os.close(wake)
                    _become(order, files, python)
                    return order
                for file in files:
                    os.close(file)
                callers[pid] = caller
                selector.register(caller, selectors.EVENT_READ, pid)
                with contextlib.suppress(OSError):  # it was killed meanwhile
                    caller.sendall(f"{pid}\n".encode())
            else:  # who stood for the program was killed: so is the program, had it not yet joined the group
                _kill(key.data)
                selector.unregister(key.fileobj)


def _kill(pid: int) -> None:
    """A program, with its group where it leads one: nobody else's signal reaches that."""
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, signal.SIGKILL)


def _receive(caller: socket.socket) -> tuple[dict | None, list[int]]:
    try:
        _, files, _, _ = socket.recv_fds(caller, 1, 3)
        with caller.makefile() as lines:
            line = lines.readline()
        return json.loads(line), files
    except (OSError, ValueError):
        return None, []


def _ended(callers: dict[int, socket.socket]) -> Iterator[tuple[int, socket.socket]]:
    """Programs that have ended; those who wait for them are told how."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        with contextlib.suppress(OSError):
            callers[pid].sendall(f"{status}\n".encode())
        yield pid, callers[pid]


def _become(order: dict, files: list[int], python: str) -> None:
    """In the child: the group, files, folder, environment and names of the program that was asked for."""
    for number in order["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    try:
        if order["apart"]:  # in another session, whose groups this process cannot join
            os.setsid()
        else:
            os.setpgid(0, order["group"])
    except OSError:  # the group was killed before this process could join it, and this process goes with it
        os._exit(137)
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.executable = order["env"].get(CHILDREN, python)
    sys.argv = order["argv"]


def main() -> None:
    """Serve; in a child, run its module to the end of this interpreter."""
    address, python = sys.argv[1:]
    gc.disable()  # collecting while modules come in takes a third as long again
    gc.set_threshold(50_000, 20, 50)  # as in tests/conftest.py, in what is forked
    preload(Path(address).parent)
    gc.collect()
    gc.freeze()  # what all share is not copied by a collection in one of them
    gc.enable()
    order = serve(address, python)
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    end(run(order["argv"][0]) if order["argv"] != [WORKER] else be_worker())


def be_worker() -> int:
    """A process of tests, which imports the tests anew: pytest rewrites their assertions as they come."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.executable, sys.argv = sys.orig_argv[0], ["-c"]
    exec(WORKER, {"__name__": "__main__"})
    return 0


def run(module: str) -> int:
    """The program; its exit code, negative for the signal that it ends by."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        sys.stderr.write(f"{left.code}\n")
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> NoReturn:
    """As an interpreter ends, but for taking its modules apart, which would copy all that is shared."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            file.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()

"""The training process from outside: started in a clean environment, listened to, and its end told in words."""

import codecs
import contextlib
import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO

import psutil

from dpo_core.errors import Diverged, InputError
from infra.environment import ROOT, training_environment
from infra.errors import BadSetting, Damaged, InfraError, ObjectMissing, ProcessFailed, Rejected, Unavailable
from infra.secrets import without_secrets
from infra.settings import Settings
from tasks.runtime.workers import memory_facts, oom_kills
from tasks.training.wanted import require_wanted

log = logging.getLogger("dpo.train")
SINGLE = ROOT / "infra" / "accelerate" / "single.yaml"  # always one by name: the user's default is for other work
IGNORE_SIGINT = ("sh", "-c", 'trap "" INT; exec "$@"', "train")  # launcher and worker would print tracebacks
ROOM = 1 << 20  # bytes: a disk with less is full
EVERY_S = 1.0  # how often it is asked whether a training is wanted still
EXAMPLES, ASIDE = "examples.jsonl", "aside.jsonl"  # to train on, and set aside by training.early_stopping
LAST = 200  # lines of what it said that are kept
GO_ON = "the same command goes on from its last checkpoint"
RANK = re.compile(r"^\[rank\d+\]: ?")
WRAPPERS = ("subprocess.CalledProcessError", "torch.distributed.elastic.")  # errors that only say that it ended
KILLED = re.compile(r"Signals\.(SIG\w+)|Signal \d+ \((SIG\w+)\)")
STUCK = re.compile(r"Watchdog caught collective operation timeout")  # NCCL's, which ends the process by SIGABRT
KINDS: dict[str, type[InputError | InfraError]] = {
    kind.__name__: kind
    for kind in (
        *(InputError, Diverged),
        *(InfraError, BadSetting, ObjectMissing, Damaged, Unavailable, Rejected, ProcessFailed),
    )
}


def launch(folder: Path, settings: Settings, keys: Collection[str] = ()) -> None:
    """Run the worker under accelerate. Raises its InputError or InfraError, or ProcessFailed with what it ended for.

    `keys`: names of environment variables that hold the keys of the endpoints it asks.
    """
    several = settings.accelerate_config is not None
    config = settings.accelerate_config or SINGLE
    command = [*IGNORE_SIGINT, sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += ["--num_cpu_threads_per_process", str(settings.num_threads)]
    command += ["-m", "tasks.training.worker", str(folder), *(["live"] if sys.stderr.isatty() else [])]
    environment = training_environment(os.environ, several=several, keys=keys)
    environment |= {"PYTHONWARNINGS": "ignore", "COLUMNS": str(shutil.get_terminal_size().columns)}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup: torch's launcher of several would heed it again
        environment["PET_SIGNALS_TO_HANDLE"] = "SIGTERM,SIGINT,SIGQUIT"
    kills = oom_kills()
    before = psutil.Process().children()
    process: subprocess.Popen[bytes] | None = None
    try:  # begins before the process does: Ctrl-C in between would leave it running
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        heard = Listener(process)
        code = _ended(process, settings.train_timeout_s)
    except subprocess.TimeoutExpired:
        _stop(process, before)
        says = f"the training took longer than DPO_TRAIN_TIMEOUT_S, {settings.train_timeout_s} s, and was ended"
        raise ProcessFailed(says, where=str(folder), do=f"set it higher; {GO_ON}") from None
    except BaseException as cause:
        if process is not None or not isinstance(cause, Exception):  # else Popen itself failed: there is none
            _stop(process, before)
        raise
    heard.join(10)  # a process that it left behind may hold the other end
    if code == 0:
        return
    error = _error(folder)
    if "traceback" in error:
        log.debug("training_traceback %s", error["traceback"])
    if "do" in error:
        kind = KINDS.get(error.get("kind", ""), ProcessFailed)
        raise kind(error["says"], where=error["where"], do=error["do"])
    if error:
        says, do = f"the training failed: {error['says']}", f"run again with --debug for the traceback; {GO_ON}"
        raise ProcessFailed(says, where=str(folder), do=do)
    raise why_it_ended(code, list(heard.last), kills=oom_kills() - kills, config=str(config))


class Listener(threading.Thread):
    """Hands on what a process says, as it says it, without secrets; a traceback is kept, and with --debug shown too."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(name="training-output", daemon=True)
        assert process.stdout is not None
        self._stream: IO[bytes] = process.stdout
        self._in_traceback = False
        self.last: deque[str] = deque(maxlen=LAST)
        self.start()

    def run(self) -> None:
        """Until the process, and whatever it started, has closed its end."""
        text, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := os.read(self._stream.fileno(), 1 << 16):
            *whole, text = re.split(r"(?<=[\r\n])", text + decoder.decode(chunk))
            for piece in whole:
                self._take(piece)
            if whole and whole[-1].endswith("\r"):  # a progress bar ends without a line end
                self._take(text)
                text = ""
        self._take(text + decoder.decode(b"", final=True))

    def _take(self, piece: str) -> None:
        line = RANK.sub("", piece.rstrip("\r\n"))
        if not piece:
            return
        if piece.endswith("\n") or "\r" not in piece:
            self.last.append(without_secrets(line))
        if line.startswith("Traceback (most recent call last)"):
            self._in_traceback, shown = True, False
        else:
            shown = not self._in_traceback
            self._in_traceback = self._in_traceback and (not line or line[0].isspace())
        if shown or log.isEnabledFor(logging.DEBUG):
            with contextlib.suppress(OSError, ValueError):  # a terminal that was closed
                sys.stderr.write(without_secrets(piece))
                sys.stderr.flush()


def why_it_ended(code: int, last: list[str], *, kills: int, config: str) -> ProcessFailed:
    """What exit code and last lines say: a wait in vain, killed, an exception of the start, or nothing."""
    said = "\n".join(last)
    errors = [line for line in _exceptions(last) if not line.startswith(WRAPPERS)]
    if STUCK.search(said):
        says = "a process of the training waited in vain for the others"
        do = f"see why one of them is slow or gone (--debug shows what each says); {GO_ON}"
        return ProcessFailed(says, where=config, do=do)
    if (found := KILLED.search(said)) or code < 0:
        name = (found[1] or found[2]) if found else signal.Signals(-code).name
        says = f"the training process was killed by {name}"
        if name != "SIGKILL":
            return ProcessFailed(says, where=memory_facts(kills), do=f"find out who sent it; {GO_ON}")
        do = "if nobody killed it, memory was short: set training.tokens_per_row lower, turn on "
        do += f"training.gradient_checkpointing, or train a LoRA (training.lora); {GO_ON}"
        return ProcessFailed(says, where=memory_facts(kills), do=do)
    if errors:
        says = f"the training process did not start: {errors[-1]}"
        do = "run again with --debug for the traceback"
        if errors[-1].startswith(("ModuleNotFoundError", "ImportError")):
            do = f"install what is missing for {sys.executable}, or run again with --debug for the traceback"
        return ProcessFailed(says, where=config, do=do)
    end = next((line.strip() for line in reversed(last) if line.strip()), "nothing")
    says = f"the training process ended with exit code {code}; the last that it said: {end[:300]}"
    return ProcessFailed(says, where=memory_facts(kills), do=f"run again with --debug for all that it says; {GO_ON}")


def _exceptions(lines: list[str]) -> list[str]:
    """The last line of each traceback: type and message."""
    found, inside = [], False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line and not line[0].isspace():
            found.append(line)
            inside = False
    return found


def _error(folder: Path) -> dict[str, str]:
    """What the worker has left to say, empty if nothing. Raises OSError where the disk had no room for it."""
    try:
        error: dict[str, str] = json.loads((folder / "error.json").read_text())
    except (FileNotFoundError, ValueError):
        if shutil.disk_usage(folder).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None
        return {}
    return error


def _ended(process: "subprocess.Popen[bytes]", limit_s: float) -> int:
    """Its exit code. Raises TimeoutExpired after `limit_s` seconds, KeyboardInterrupt once nobody wants it any more."""
    end = time.monotonic() + limit_s
    while True:
        require_wanted()
        left = end - time.monotonic()
        try:
            return process.wait(timeout=min(left, EVERY_S))
        except subprocess.TimeoutExpired:
            if left <= EVERY_S:
                raise


def _stop(process: "subprocess.Popen[bytes] | None", before: Sequence[psutil.Process]) -> None:
    """End the launcher and its workers; where its start was interrupted it is a child that was not there before.

    They share our process group (so that a kill reaches all) and not our Ctrl-C.
    """
    children = psutil.Process().children()
    if process is None:
        launchers = [child for child in children if child not in before]
    else:
        launchers = [child for child in children if child.pid == process.pid]
    family = []
    for launcher in launchers:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += [launcher, *launcher.children(recursive=True)]
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(family, timeout=20)[1]:
        one.kill()

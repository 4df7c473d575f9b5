"""The edge between a command and whoever called it: one result, one exit code, errors in three lines.

Exit codes: 0 done, 2 bad input or configuration, 3 data check failed, 4 not promoted, 75 a server that does not answer
(EX_TEMPFAIL of sysexits.h), 130 interrupted, 1 the rest.
"""

import contextlib
import errno
import json
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from dpo_core.errors import InputError
from infra.errors import InfraError, ProcessFailed, Unavailable
from infra.secrets import without_secrets

DONE, FAILED, BAD_INPUT, CHECK_FAILED, NOT_PROMOTED, AWAY, INTERRUPTED = 0, 1, 2, 3, 4, os.EX_TEMPFAIL, 130


@dataclass(frozen=True)
class CommandResult:
    """What a command has to say: to a program (one JSON document), to people (a screen), and its exit code."""

    document: dict[str, object]
    show: Callable[[Console], None]
    code: int = DONE


def serve(command: Callable[[], CommandResult | None], *, as_json: bool = False, debug: bool = False) -> int:
    """Run a command, print what it has to say, return the exit code. No exception leaves."""
    with _stdout_set_aside() if as_json else contextlib.nullcontext():
        try:
            result = command()
        except BaseException as error:
            if debug:
                sys.stderr.write(without_secrets(traceback.format_exc()))
            result = explain(error)
    if result is None:
        return DONE
    trouble = "error" in result.document
    try:
        result.show(Console(stderr=as_json or trouble, highlight=False))
        if as_json:
            sys.stdout.write(without_secrets(json.dumps({"schema": 1, **result.document}, ensure_ascii=False)) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.code


def explain(error: BaseException) -> CommandResult:
    """What went wrong, in three lines: what, where, what to do."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        kept = f"finished work is kept under {os.environ.get('DPO_HOME', '.dpo')}"
        return trouble("interrupted: nothing finished is lost", kept, f"to go on, run it again: {typed()}", INTERRUPTED)
    if full := _cause(error, errno.ENOSPC, "no space left on device", "disk is full"):
        return trouble("the disk is full", *_disk(full), BAD_INPUT)
    if isinstance(error, InputError | InfraError):
        code = AWAY if isinstance(error, Unavailable) else FAILED if isinstance(error, ProcessFailed) else BAD_INPUT
        return trouble(error.says, error.where, error.do, code)
    if busy := _cause(error, errno.EADDRINUSE, "address already in use"):
        do = "stop the program that listens there, or choose another port"
        return trouble("the port is in use by another program", str(busy), do, BAD_INPUT)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        do = "name a file in a folder of yours, or change who may use this one"
        return trouble(f"this may not be read or written: {error.strerror}", str(error.filename), do, BAD_INPUT)
    if (url := _unanswered(error)) is not None:
        do = f"start it (`prefect server start`) or unset PREFECT_API_URL; then run it again: {typed()}"
        return trouble("Prefect's server does not answer; nothing finished is lost", url, do, AWAY)
    if isinstance(error, MemoryError):
        do = "set training.tokens_per_row lower, turn on training.gradient_checkpointing, or free memory"
        return trouble("the machine is out of memory", "inside dpo", do, FAILED)
    says = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    return trouble(says, "inside dpo", "run again with --debug for the traceback", FAILED)


def trouble(says: str, where: str, do: str, code: int) -> CommandResult:
    """An error as a result: three lines on stderr, or the document `{"error": {says, where, do}}`."""
    says, where, do = (without_secrets(text) for text in (says, where, do))

    def show(console: Console) -> None:
        head = "stopped" if code == INTERRUPTED else "error"
        for label, text, style in ((head, says, "bold red"), ("where", where, "dim"), ("do", do, "bold")):
            console.print(Text(f"{label + ':':9}", style=style) + Text(text), soft_wrap=True)

    return CommandResult({"error": {"says": says, "where": where, "do": do}}, show, code)


def printable(text: str) -> str:
    """`text` as it may reach a terminal: what a model wrote must not move the cursor or set a title."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def typed() -> str:
    """The command as it was typed, for `type it again`."""
    return without_secrets(" ".join([program("dpo"), *map(shlex.quote, sys.argv[1:])]))


def program(name: str) -> str:
    """How to call one of this environment's programs from the shell the person is in; quoted for it."""
    here = Path(sys.executable).parent / name
    found = shutil.which(name)
    if (found and Path(found).resolve() == here.resolve()) or not here.exists():
        return name
    return shlex.quote(os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here))


def _cause(error: BaseException, number: int, *words: str) -> BaseException | None:
    """The error in the chain that is this errno, or whose message carries its words from elsewhere."""
    link: BaseException | None = error
    while link is not None:
        if getattr(link, "errno", None) == number or any(text in str(link).lower() for text in words):
            return link
        link = link.__cause__ or link.__context__
    return None


def _unanswered(error: BaseException) -> str | None:
    """The address of Prefect's server, a run's own or a team's, if a request to it is what failed."""
    link: BaseException | None = error
    while link is not None:
        url = str(
            getattr(getattr(link, "_request", None), "url", "")
        )  # of httpx: its property raises where there is none
        if url.startswith(os.environ.get("PREFECT_API_URL", "http://127.0.0.1:")) and "/api/" in url:
            return url.partition("/api/")[0] + "/api"
        link = link.__cause__ or link.__context__
    return None


def _disk(error: BaseException) -> tuple[str, str]:
    """Where the full disk is, how much is free there, and what to do about it."""
    home = Path(os.environ.get("DPO_HOME", ".dpo"))
    names = ("filename2", "filename", "where")  # filename2: where a copy went to
    place = next((str(found) for name in names if (found := getattr(error, name, None))), str(home))
    with contextlib.suppress(OSError):
        place = f"{place}, {shutil.disk_usage(home).free // 1024} KiB free on the disk of {home}"
    return place, f"free space there, or set DPO_HOME to a larger disk; then run it again: {typed()}"


@contextlib.contextmanager
def _stdout_set_aside() -> Iterator[None]:
    """Whatever libraries and child processes print goes to stderr, so that stdout holds the document alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)

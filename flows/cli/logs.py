"""What the terminal shows while a command works: one line an event of our own stages, nothing of other libraries."""

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from infra.secrets import without_secrets


class TerminalHandler(logging.Handler):
    """`19:12:03  train     step=10 loss=0.61`: time, stage (the logger's name after `dpo.`), event."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record on stderr; a message that cannot be printed never stops the work."""
        try:
            loud = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "")
            stage = record.name.removeprefix("dpo").lstrip(".") or "dpo"
            line = Text(time.strftime("%H:%M:%S  ", time.localtime(record.created)), style="dim")
            line.append(f"{stage:<10}", style="cyan").append(without_secrets(record.getMessage()), style=loud)
            Console(stderr=True, highlight=False).print(line, soft_wrap=True)
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def terminal_logs(*, debug: bool) -> Iterator[None]:
    """Our loggers (`dpo.<stage>`) speak on the terminal; with `debug`, Prefect and the other libraries too."""
    logger, handler = logging.getLogger("dpo"), TerminalHandler()
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before[0])
            logger.propagate = before[1]


def tame_libraries(*, debug: bool) -> None:
    """How the libraries behave beneath a command; each only where unset. Call before they are imported.

    Prefect's own page still gets every line, our own included; its console handler keeps silent, because
    it would print each of our errors a second time, with a traceback.
    """
    quiet = {
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    always = {
        "PREFECT_LOGGING_EXTRA_LOGGERS": "dpo",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the first start on a busy machine took 17 s
    }
    for name, value in {**always, **({} if debug else quiet)}.items():
        os.environ.setdefault(name, value)

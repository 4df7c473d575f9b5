"""Secrets are struck out before anything can write them down: of log records, of Prefect's states, of lost threads.

A handler sees a record as it was made, and Prefect's sends it to its server: masking in a handler of ours is too late.
"""

import logging
import sys
import threading
from collections.abc import Callable

from infra.secrets import without_secrets

log = logging.getLogger("dpo")


def mask_everything() -> None:
    """From here on, in this process; to be called again once Prefect is imported. Twice is once."""
    make = logging.getLogRecordFactory()
    if not isinstance(make, _MaskedRecords):
        logging.setLogRecordFactory(_MaskedRecords(make))
        threading.excepthook = _tell
    for name in ("prefect.states", "prefect._internal.states"):
        module = sys.modules.get(name)
        if module is not None and not isinstance(vars(module)["format_exception"], _MaskedText):
            vars(module)["format_exception"] = _MaskedText(vars(module)["format_exception"])


class _MaskedRecords:
    """A factory of log records without secrets, in the message and in the traceback."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *arguments: object, **options: object) -> logging.LogRecord:
        record = self._make(*arguments, **options)
        try:
            said = record.getMessage()
        except Exception:  # arguments that do not fit the message: a handler would print both
            said, record.args = f"{record.msg} {record.args}", ()
            record.msg = said
        if (masked := without_secrets(said)) != said:
            record.msg, record.args = masked, ()
        if record.exc_info and record.exc_info[0] is not None:
            trace = logging.Formatter().formatException(record.exc_info)
            if (masked := without_secrets(trace)) != trace:
                record.exc_text, record.exc_info = masked, None
        if record.stack_info:
            record.stack_info = without_secrets(record.stack_info)
        return record


class _MaskedText:
    """A function that returns text, without the secrets in it."""

    def __init__(self, function: Callable[..., str]) -> None:
        self._function = function

    def __call__(self, *arguments: object, **options: object) -> str:
        return without_secrets(str(self._function(*arguments, **options)))


def _tell(lost: threading.ExceptHookArgs) -> None:
    """What threading prints of a thread that an exception has ended, as a log record."""
    if lost.exc_type is not SystemExit and lost.exc_value is not None:
        info = (lost.exc_type, lost.exc_value, lost.exc_traceback)
        log.error("thread_lost name=%s", lost.thread.name if lost.thread else "?", exc_info=info)

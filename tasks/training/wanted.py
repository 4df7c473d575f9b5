"""Whether a training is wanted still: the main thread alone hears Ctrl-C, and tells the others here."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def stops_threads() -> Iterator[threading.Event]:
    """What is begun inside, with a copy of this context, ends once the event is set."""
    stop = threading.Event()
    token = _stop.set(stop)
    try:
        yield stop
    finally:
        _stop.reset(token)


def require_wanted() -> None:
    """Raise KeyboardInterrupt where it has been set."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise KeyboardInterrupt

"""A function over many items, in order: here while they are few, in processes of their own once they are many."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
FEW = 8  # items that are not worth starting processes for
AHEAD = 3  # items in work or waiting, for each process: bounds the memory


class WorkerLostError(RuntimeError):
    """A process ended without an answer."""


def in_order(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """`function(item)` of every item, in order. It and they must be picklable; its module should import quickly."""
    rest = iter(items)
    first = list(islice(rest, FEW + 1))
    if workers < 2 or len(first) <= FEW:
        yield from map(function, chain(first, rest))
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(workers, context, _start, (function,))
    waiting: deque[Future[Result]] = deque()
    try:
        for item in chain(first, rest):
            waiting.append(pool.submit(_run, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise WorkerLostError(
            "a process that examines the pairs ended without an answer (killed, or out of memory?): "
            "the same command begins again; DPO_NUM_THREADS=1 needs the least memory"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_function: Callable[[Any], Any]


def _start(function: Callable[[Any], Any]) -> None:
    """In the new process: keep the function."""
    global _function
    _function = function
    belong_to_parent()


def belong_to_parent() -> None:
    """In a new process: leave Ctrl-C to the parent; end when it does, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(item: Any) -> Any:
    return _function(item)

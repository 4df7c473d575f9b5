"""A function over many items, in order: here while they are few, in processes of their own once they are many."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from dpo_core.memory import usable_memory
from infra.errors import ProcessFailed

Item = TypeVar("Item")
Result = TypeVar("Result")
FEW = 8  # items that are not worth starting processes for
AHEAD = 3  # items in work or waiting, for each process: bounds the memory


GIB = 1 << 30


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
    kills, processes = oom_kills(), set[BaseProcess]()
    try:
        for item in chain(first, rest):
            waiting.append(pool.submit(_run, item))
            processes |= processes_of(pool)
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        pool.shutdown(wait=True, cancel_futures=True)  # until then nobody knows how they ended
        says = f"a process that examines the pairs ended without an answer: it {how_ended(processes)}"
        do = "the same command begins again; DPO_NUM_THREADS=1 needs the least memory"
        raise ProcessFailed(says, where=memory_facts(oom_kills() - kills), do=do) from None
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


def processes_of(pool: ProcessPoolExecutor) -> set[BaseProcess]:
    """Those that it has started so far; a broken pool knows none any more."""
    return set((vars(pool)["_processes"] or {}).values())


def how_ended(processes: Collection[BaseProcess]) -> str:
    """How the first of a broken pool's processes ended; the others were ended (SIGTERM) because of it."""
    codes = [process.exitcode for process in processes if process.exitcode not in (None, 0, -signal.SIGTERM)]
    if not codes:
        return "was ended"
    code = codes[0] or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}, and says why"


def oom_kills() -> int:
    """Processes that the kernel has killed for memory in this container (cgroup v2); 0 where it does not tell."""
    try:
        events = dict(line.split() for line in Path("/sys/fs/cgroup/memory.events").read_text().splitlines())
        return int(events["oom_kill"])
    except (OSError, ValueError, KeyError):
        return 0


def memory_facts(kills: int) -> str:
    """What is known of the memory here; `kills`: processes that the kernel killed for it meanwhile."""
    memory = usable_memory()
    facts = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB of memory are free now"
    return f"{facts}; the kernel killed {kills} meanwhile because it was full" if kills else facts

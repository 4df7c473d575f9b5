"""Who asks: enough of a process to tell later whether it still lives."""

import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")
TOLERANCE_S = 1.0  # of a process's start: the clock that it is told by may have been set since

Owner = dict[str, str | int | float]


def this_process() -> Owner:
    """Machine, process id, and when the process began, in seconds since 1970."""
    return {"machine": _machine(), "pid": os.getpid(), "began": psutil.Process().create_time()}


def is_gone(owner: Owner) -> bool:
    """Whether the owner was a process of this machine and is no more; False where that cannot be told."""
    if owner.get("machine") != _machine():
        return False
    try:
        process = psutil.Process(int(owner["pid"]))
        began, dead = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return True
    except psutil.AccessDenied:
        return False
    return bool(dead or abs(began - float(owner["began"])) > TOLERANCE_S)


@cache
def _machine() -> str:
    """Where process ids mean the same: host, start of the kernel, and container."""
    parts = [platform.node()]
    with suppress(OSError):  # not Linux
        parts += [BOOT.read_text(encoding="ascii").strip(), str(NAMESPACE.readlink())]
    return "/".join(parts)

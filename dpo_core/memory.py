"""The memory that this process may use: the machine's, or what its container leaves of it."""

from pathlib import Path
from typing import NamedTuple

import psutil

CGROUP = Path("/sys/fs/cgroup")  # version 2, as a container sees its own


class Memory(NamedTuple):
    """In bytes."""

    available: int
    total: int


def usable_memory() -> Memory:
    """Files that the kernel would let go of are no use of it, as psutil counts them for the machine."""
    machine = psutil.virtual_memory()
    try:
        limit, used = (int((CGROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        free = max(0, limit - used + int(kept["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no cgroup v2, or "max": no limit
        return Memory(machine.available, machine.total)
    return Memory(min(machine.available, free), min(machine.total, limit))

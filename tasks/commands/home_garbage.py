"""What a machine keeps without need: trainings that nobody came back to, and copies of what can be fetched again.

A model or data set that came from a package index or the hub is left: there may be no way to it any more.
"""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

COPIES = ("models", "datasets", "s3", "merged")  # folders of downloads/ whose every folder is a copy
VERSION = re.compile(r"(.*-\d+-[0-9a-f]{12}|[0-9a-f]{64})")  # a registered version's weights, below downloads/ itself


@dataclass(frozen=True)
class Leftover:
    """A folder below the home. `used`: the last time that a file of it was read or written, seconds since 1970."""

    path: Path
    size: int
    used: float


def find_leftovers(home: Path, *, older_than_s: float) -> list[Leftover]:
    """Folders that nothing has used for so long; no copy while a training is at work here. Removes nothing."""
    runs = home / "runs"
    at_work = {lock.stem for lock in runs.glob("*.lock") if _held(lock)}
    trainings = [path for path in sorted(runs.glob("*")) if path.is_dir() and path.name not in at_work]
    copies = [] if at_work else _copies(home / "downloads")
    found = map(_leftover, [*trainings, *copies])
    return [one for one in found if one.used < time.time() - older_than_s]


def remove_leftovers(leftovers: list[Leftover]) -> None:
    """Remove them; a training that somebody went on with since is left."""
    for one in leftovers:
        if _leftover(one.path).used <= one.used:
            shutil.rmtree(one.path, ignore_errors=True)


def _copies(downloads: Path) -> Iterator[Path]:
    for folder in sorted(downloads.glob("*")):
        if folder.name in COPIES:
            yield from (path for path in sorted(folder.glob("*")) if path.is_dir())
        elif folder.is_dir() and VERSION.fullmatch(folder.name):
            yield folder


def _leftover(folder: Path) -> Leftover:
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()] or [folder.stat()]
    return Leftover(folder, sum(stat.st_size for stat in stats), max(max(s.st_mtime, s.st_atime) for s in stats))


def _held(lock: Path) -> bool:
    """Whether a training holds it."""
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True

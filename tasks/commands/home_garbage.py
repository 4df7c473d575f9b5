"""What a machine keeps without need: trainings that nobody came back to, and copies of what can be fetched again.

A model or data set that came from a package index or the hub is left: there may be no way to it any more.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from filelock import FileLock, Timeout

COPIES = ("models", "datasets", "s3", "merged")  # folders of downloads/ whose every folder is a copy
FILES = ("traces",)  # those whose every file is one
VERSION = re.compile(r"(.*-\d+-[0-9a-f]{12}|[0-9a-f]{64})")  # a registered version's weights, below downloads/ itself


@dataclass(frozen=True)
class Leftover:
    """A folder or file below the home. `used`: when it or a file of it was last read or written, s since 1970."""

    path: Path
    size: int
    used: float


def find_leftovers(home: Path, *, older_than_s: float) -> list[Leftover]:
    """What nothing has used for so long; no copy while a training is at work here. Removes nothing."""
    trainings = [path for path in sorted((home / "runs").glob("*")) if path.is_dir() and not _held(path)]
    copies = [] if _at_work(home) else _copies(home / "downloads")
    found = [one for path in (*trainings, *copies) if (one := _leftover(path)) is not None]
    return [one for one in found if one.used < time.time() - older_than_s]


def remove_leftovers(leftovers: list[Leftover], home: Path) -> list[Leftover]:
    """Remove them, save what somebody has come back to since; those that are gone."""
    for one in leftovers:
        training = one.path.parent == home / "runs"
        with suppress(Timeout), FileLock(_lock(one.path), timeout=0) if training else nullcontext():
            now = _leftover(one.path)
            if now is not None and now.used <= one.used and (training or not _at_work(home)):
                _remove(one.path)
    return [one for one in leftovers if not one.path.exists()]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _copies(downloads: Path) -> Iterator[Path]:
    for folder in sorted(downloads.glob("*")):
        if folder.name in COPIES:
            yield from (path for path in sorted(folder.glob("*")) if path.is_dir())
        elif folder.name in FILES:
            yield from sorted(folder.glob("*"))
        elif folder.is_dir() and VERSION.fullmatch(folder.name):
            yield folder


def _leftover(path: Path) -> Leftover | None:
    """None where it is removed meanwhile. Who uses a copy that is there touches its folder."""
    try:
        stats = [one.stat() for one in (path, *path.rglob("*"))]
    except FileNotFoundError:
        return None
    files = [stat for stat in stats if not S_ISDIR(stat.st_mode)]
    used = max([stats[0].st_mtime, *(time for stat in files for time in (stat.st_mtime, stat.st_atime))])
    return Leftover(path, sum(stat.st_size for stat in files), used)


def _at_work(home: Path) -> bool:
    return any(_held(lock.with_suffix("")) for lock in (home / "runs").glob("*.lock"))


def _lock(training: Path) -> Path:
    return training.with_suffix(".lock")


def _held(training: Path) -> bool:
    """Whether somebody trains there."""
    try:
        with FileLock(_lock(training), timeout=0):
            return False
    except Timeout:
        return True

"""A folder for rows on their way, which does not outlive its process, however that ends."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PREFIX = "scratch-"


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """A fresh folder in `home`, removed afterwards; those of processes that were killed are removed first."""
    home.mkdir(parents=True, exist_ok=True)
    for left in home.glob(f"{PREFIX}*-*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=home, ignore_cleanup_errors=True) as folder:
        yield Path(folder)

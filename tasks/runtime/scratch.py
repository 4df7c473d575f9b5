"""A folder for rows on their way, which does not outlive its process, however that ends."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

PREFIX, LOCK = "scratch-", ".lock"


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """A fresh folder in `home`, removed afterwards; those of processes that were killed are removed first.

    A lock in each says whether its process lives: the id does not, in a container beside others on one volume.
    """
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with FileLock(home / "scratch.lock"):  # nobody meets a folder that is not locked yet
            for left in home.glob(f"{PREFIX}*"):
                with suppress(OSError), FileLock(left / LOCK, blocking=False):  # held by another: Timeout, an OSError
                    shutil.rmtree(left, ignore_errors=True)
            made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=home, ignore_cleanup_errors=True)
            folder = Path(held.enter_context(made))
            held.enter_context(FileLock(folder / LOCK))
        yield folder

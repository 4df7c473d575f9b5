"""A file that is only ever added to, by one process at a time; what was added is on the disk before anything else.

A process that is killed while it writes leaves a last line without its end, which was never said to be saved. Who opens
the file next knows what its lines are: they have it cut off once they know that the file is theirs.
"""

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from types import TracebackType

from infra.errors import InfraError

log = logging.getLogger("dpo.judge")
DO = "free space there, or name another file with --to"


class AppendOnlyFile:
    """Opened for one writer. `data` is what it held then; `healed` the bytes that were cut off since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.healed = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            says = f"the file cannot be written: {error.strerror or error}"
            raise InfraError(says, where=str(path), do="check the folder, and who may write there") from None
        try:
            self._lock()
            self.data = path.read_bytes()
            if fresh:
                _sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def heal(self, whole: bytes) -> None:
        """Make its end that of its whole lines, which are its data cut short or with an end to the last line."""
        if len(whole) > len(self.data):
            self.add(whole[len(self.data) :])
        elif len(whole) < len(self.data):
            self.healed = len(self.data) - len(whole)
            os.ftruncate(self._file, len(whole))
            os.fsync(self._file)
            log.warning("torn_line_cut file=%s bytes=%d action='it was never shown as saved'", self.path, self.healed)
        self.data = whole

    def add(self, data: bytes) -> None:
        """Add whole lines. They are on the disk when this returns; after an error none of them is in the file."""
        before = os.fstat(self._file).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            says = f"nothing was saved: {error.strerror or error}"
            raise InfraError(says, where=str(self.path), do=DO) from None

    def is_there(self) -> bool:
        """Whether the path still names this file: somebody may have moved it, or put another in its place."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        return False

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            says = "another `dpo judge` has this file open: it writes there alone"
            do = "open the address that it printed, for several people too; or name another file with --to"
            raise InfraError(says, where=str(self.path), do=do) from None

    def __enter__(self) -> "AppendOnlyFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sync_folder(folder: Path) -> None:
    """So that the file's name outlives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

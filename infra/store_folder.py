"""The store in a folder: temp name, fsync, rename. What is readable is complete, also after a power cut."""

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from infra.errors import InfraError
from infra.store import Store, check_key, missing

SCRATCH = ".tmp"  # unfinished writes, on the same file system; no key may begin with it
CHUNK = 1 << 20  # bytes
ABANDONED_S = 24 * 3600  # a write that was not finished in a day was killed


class FolderStore(Store):
    """Keys are files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)
        _forget_old_scratch(root / SCRATCH)

    def exists(self, key: str) -> bool:
        """See Store."""
        return self._path(key).is_file()

    def put_bytes(self, key: str, data: bytes, *, create_only: bool = False) -> bool:
        """See Store. Create-only is a hard link, which fails if the name is taken."""
        with self._guard(key):
            return self._write(key, lambda file: file.write(data), create_only=create_only)

    def get_bytes(self, key: str) -> bytes:
        """See Store."""
        with self._guard(key):
            return self._path(key).read_bytes()

    def put_file(self, key: str, path: Path) -> str:
        """See Store. A real copy: a link to a file that someone edits later would change the stored bytes."""
        sha256 = hashlib.sha256()

        def copy(target: BinaryIO) -> None:
            with path.open("rb") as source:
                while chunk := source.read(CHUNK):
                    sha256.update(chunk)
                    target.write(chunk)

        with self._guard(key):
            if not path.is_file():
                raise InfraError("there is no such file to store", where=str(path), do="check the path")
            self._write(key, copy)
        return sha256.hexdigest()

    def get_file(self, key: str, path: Path) -> None:
        """See Store."""
        with self._guard(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            try:
                with self._path(key).open("rb") as source, scratch.open("xb") as target:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
                scratch.replace(path)
            finally:
                scratch.unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        """See Store."""
        folder = prefix.rpartition("/")[0]
        top = self._path(folder) if folder else self.root
        keys = (path.relative_to(self.root).as_posix() for path in top.rglob("*") if path.is_file())
        yield from sorted(key for key in keys if key.startswith(prefix) and not key.startswith(f"{SCRATCH}/"))

    def delete(self, key: str) -> None:
        """See Store."""
        with self._guard(key):
            path = self._path(key)
            if path.exists():
                path.unlink()
                _sync(path.parent)

    def _path(self, key: str) -> Path:
        if check_key(key).split("/")[0] == SCRATCH:
            raise InfraError(f"{SCRATCH} is the store's own name", where=repr(key), do="use another key")
        return self.root / key

    def _write(self, key: str, fill: Callable[[BinaryIO], object], *, create_only: bool = False) -> bool:
        path = self._path(key)
        scratch = self.root / SCRATCH / uuid.uuid4().hex
        _make(scratch.parent)
        _make(path.parent)
        try:
            with scratch.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            if create_only:
                os.link(scratch, path)
            else:
                scratch.replace(path)
            _sync(path.parent)
        except FileExistsError:
            return False
        finally:
            scratch.unlink(missing_ok=True)
        return True

    @contextmanager
    def _guard(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise missing(self.url, key) from None
        except OSError as error:
            do = "check the path and its permissions"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                do = "make room on that disk, then run the same command again"
            says = f"the store's folder refused: {error.strerror or error}"
            raise InfraError(says, where=f"{self.url}/{key}", do=do) from error


def _forget_old_scratch(folder: Path) -> None:
    for path in folder.glob("*"):
        with suppress(OSError):  # another process forgets it too
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()


def _make(folder: Path) -> None:
    """Create a folder and its parents so that they survive a power cut."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

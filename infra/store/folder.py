"""The store in a folder: temp name, fsync, rename. What is readable is complete, also after a power cut.

A file's SHA-256 is written down in its extended attributes, where the file system has them (Linux does): the digest
and the bytes come into place in one rename.
"""

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from infra.errors import Damaged, InfraError
from infra.store.base import Digests, Store, StoredObject, check_key, missing

SCRATCH = ".tmp"  # unfinished writes, on the same file system; no key may begin with it
CHUNK = 1 << 20  # bytes
ABANDONED_S = 24 * 3600  # a write that was not finished in a day was killed
RECORD = "user.sha256"
FULL = (errno.ENOSPC, errno.EDQUOT)


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

        def fill(target: BinaryIO) -> str:
            target.write(data)
            return hashlib.sha256(data).hexdigest()

        with self._guard(key):
            return self._write(key, fill, create_only=create_only) is not None

    def get_bytes(self, key: str) -> bytes:
        """See Store."""
        with self._guard(key), self._path(key).open("rb") as file:
            data = file.read()
            self._compare(key, hashlib.sha256(data).hexdigest(), _recorded(file))
            return data

    def put_file(self, key: str, path: Path) -> str:
        """See Store. A real copy: a link to a file that someone edits later would change the stored bytes."""

        def fill(target: BinaryIO) -> str:
            with path.open("rb") as source:
                return _copy(source, target)

        with self._guard(key):
            if not path.is_file():
                raise InfraError("there is no such file to store", where=str(path), do="check the path")
            return str(self._write(key, fill))

    def get_file(self, key: str, path: Path) -> None:
        """See Store."""
        with self._guard(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            try:
                with self._path(key).open("rb") as source, scratch.open("xb") as target:
                    self._compare(key, _copy(source, target), _recorded(source))
                scratch.replace(path)
            finally:
                scratch.unlink(missing_ok=True)

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """See Store."""
        folder = prefix.rpartition("/")[0]
        found = _below(self.root, self._path(folder) if folder else self.root)
        yield from sorted(e for e in found if e.key.startswith(prefix) and not e.key.startswith(f"{SCRATCH}/"))

    def digests(self, key: str) -> Digests:
        """See Store."""
        with self._guard(key), self._path(key).open("rb") as file:
            return Digests(hashlib.file_digest(file, "sha256").hexdigest(), _recorded(file))

    def delete(self, key: str) -> None:
        """See Store."""
        with self._guard(key):
            path = self._path(key)
            if path.exists():
                path.unlink()
                _sync(path.parent)
            _prune(path.parent, self.root)

    def unfinished(self) -> Iterator[StoredObject]:
        """See Store."""
        yield from sorted(_below(self.root, self.root / SCRATCH))

    def drop_unfinished(self, entry: StoredObject) -> None:
        """See Store."""
        with self._guard(entry.key):
            (self.root / SCRATCH / Path(entry.key).name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if check_key(key).split("/")[0] == SCRATCH:
            raise InfraError(f"{SCRATCH} is the store's own name", where=repr(key), do="use another key")
        return self.root / key

    def _write(self, key: str, fill: Callable[[BinaryIO], str], *, create_only: bool = False) -> str | None:
        """The SHA-256 that `fill` returns; None if another write was first."""
        path = self._path(key)
        scratch = self.root / SCRATCH / uuid.uuid4().hex
        _make(scratch.parent)
        try:
            with scratch.open("xb") as file:
                sha256 = fill(file)
                _record(file, sha256)
                file.flush()
                os.fsync(file.fileno())
            _place(scratch, path, create_only=create_only)
            _sync(path.parent)
        except FileExistsError:
            return None
        finally:
            scratch.unlink(missing_ok=True)
        return sha256

    def _compare(self, key: str, found: str, recorded: str | None) -> None:
        if recorded not in (None, found):
            raise Damaged("the object's bytes are damaged", where=f"{self.url}/{key}", do="store it again")

    @contextmanager
    def _guard(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise missing(self.url, key) from None
        except OSError as error:
            do = "check the path and its permissions"
            if error.errno in FULL:
                do = "make room on that disk, then run the same command again"
            says = f"the store's folder refused: {error.strerror or error}"
            raise InfraError(says, where=f"{self.url}/{key}", do=do) from error


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    sha256 = hashlib.sha256()
    while chunk := source.read(CHUNK):
        sha256.update(chunk)
        target.write(chunk)
    return sha256.hexdigest()


def _below(root: Path, top: Path) -> Iterator[StoredObject]:
    for path in top.rglob("*"):
        with suppress(FileNotFoundError):  # removed since
            if path.is_file():
                facts = path.stat()
                yield StoredObject(path.relative_to(root).as_posix(), facts.st_size, facts.st_mtime)


def _record(file: BinaryIO, sha256: str) -> None:
    with suppress(AttributeError, OSError):  # not on Linux, or a file system without extended attributes
        os.setxattr(file.fileno(), RECORD, sha256.encode())


def _recorded(file: BinaryIO) -> str | None:
    try:
        return os.getxattr(file.fileno(), RECORD).decode()
    except (AttributeError, OSError):
        return None


def _place(scratch: Path, path: Path, *, create_only: bool) -> None:
    """Give the finished file its name; its folder may go meanwhile, as the last file in it is deleted."""
    for last in (False, False, True):
        try:
            _make(path.parent)
            if create_only:
                os.link(scratch, path)
            else:
                scratch.replace(path)
            return
        except FileNotFoundError:
            if last:
                raise


def _prune(folder: Path, root: Path) -> None:
    """Remove folders that have become empty."""
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


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
    with suppress(FileNotFoundError):  # emptied and removed since
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

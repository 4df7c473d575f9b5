"""One small object store, two homes: a folder (`folder`) and S3 (`s3`).

Keys are relative paths with `/`. Writing one key is atomic; a folder is readable once its MANIFEST.json, written
last, is there; whatever is read of a folder is checked against the SHA-256 in it.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

from infra.errors import Damaged, InfraError, ObjectMissing

MANIFEST = "MANIFEST.json"
LARGE = 16 << 20  # bytes: such a file travels alone, in parts at the same time; smaller ones side by side
AT_ONCE = 8  # small files on their way at the same time


class FileEntry(TypedDict):
    """What a manifest says of one file: size in bytes, SHA-256 as hex."""

    size: int
    sha256: str


Manifest = dict[str, FileEntry]


class StoredObject(NamedTuple):
    """One object as it is listed: size in bytes, time of its last write in seconds since 1970."""

    key: str
    size: int
    modified: float


class Digests(NamedTuple):
    """SHA-256 (hex) of an object's bytes as they are, and as written down beside them (None: not by us)."""

    found: str
    recorded: str | None


class Store(Protocol):
    """Where checkpoints, caches and the ledger live. Every failure is an InfraError, a missing key ObjectMissing."""

    url: str

    def exists(self, key: str) -> bool:
        """Whether the key is there, complete."""
        ...

    def put_bytes(self, key: str, data: bytes, *, create_only: bool = False) -> bool:
        """Write atomically. With `create_only`, False (and nothing written) if another write was first.

        That is how several processes append to one ledger: each entry is a key that only one of them gets to write.
        """
        ...

    def get_bytes(self, key: str) -> bytes:
        """The bytes of a key."""
        ...

    def put_file(self, key: str, path: Path) -> str:
        """Write a file of any size atomically; the SHA-256 (hex) of what was stored."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Write a key's bytes to `path`, atomically."""
        ...

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, sorted by key."""
        ...

    def digests(self, key: str) -> Digests:
        """Read the whole object, and say what its SHA-256 is and should be."""
        ...

    def unfinished(self) -> Iterator[StoredObject]:
        """Writes that began and did not end: another process is at it, or was killed."""
        ...

    def drop_unfinished(self, entry: StoredObject) -> None:
        """Remove what such a write has left."""
        ...

    def keeps_deleted(self) -> bool:
        """Whether what is deleted here goes on taking room, for good."""
        return False

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted."""
        return (entry.key for entry in self.entries(prefix))

    def delete(self, key: str) -> None:
        """Remove a key; a key that is not there is no error."""
        ...

    def put_folder(self, prefix: str, folder: Path) -> Manifest:
        """Store all files of `folder` under `prefix`, MANIFEST.json last.

        The same folder again sends the manifest alone, which refreshes it: garbage collection goes by its age.
        """
        manifest = describe(folder)
        key, text = f"{prefix}/{MANIFEST}", json.dumps({"files": manifest}, indent=1, sort_keys=True).encode()
        if self.exists(key):
            if _parse(self.get_bytes(key), f"{self.url}/{key}") == manifest and self.has_folder(prefix):
                self.put_bytes(key, text)
                return manifest
            self.delete(key)  # other content, or a file is gone: incomplete until the new manifest is there

        def send(name: str) -> None:
            if self.put_file(f"{prefix}/{name}", folder / name) != manifest[name]["sha256"]:
                raise InfraError("the file changed while it was stored", where=str(folder / name), do="start again")

        _each(manifest, send)
        self.put_bytes(key, text)
        return manifest

    def get_folder(self, prefix: str, folder: Path) -> Manifest:
        """Bring a complete folder here, each file checked; files that are there and right are left alone."""
        manifest = self.manifest(prefix)

        def fetch(name: str) -> None:
            path, entry = folder / name, manifest[name]
            if path.is_file() and path.stat().st_size == entry["size"] and digest(path) == entry["sha256"]:
                return
            with tempfile.TemporaryDirectory(dir=_made(path.parent), prefix=".tmp-") as scratch:
                fresh = Path(scratch) / "file"
                self.get_file(f"{prefix}/{name}", fresh)
                if digest(fresh) != entry["sha256"]:
                    where = f"{self.url}/{prefix}/{name}"
                    raise Damaged("the stored file is not what its manifest says", where=where, do="store it again")
                fresh.replace(path)

        _each(manifest, fetch)
        return manifest

    def drop_folder(self, prefix: str) -> None:
        """Remove a stored folder, its manifest first: what is left of it cannot be taken for the whole."""
        for key in sorted(self.list(f"{prefix}/"), key=lambda key: not key.endswith(MANIFEST)):
            self.delete(key)

    def has_folder(self, prefix: str) -> bool:
        """Whether every file of a stored folder is there; their bytes are compared when they are read."""
        try:
            return all(self.exists(f"{prefix}/{name}") for name in self.manifest(prefix))
        except ObjectMissing:
            return False

    def manifest(self, prefix: str) -> Manifest:
        """What a complete folder holds. Raises ObjectMissing for one that is not complete."""
        return _parse(self.get_bytes(f"{prefix}/{MANIFEST}"), f"{self.url}/{prefix}/{MANIFEST}")


def _each(manifest: Mapping[str, FileEntry], move: Callable[[str], None]) -> None:
    """Move large files one by one (each in parts, side by side), small ones side by side."""
    for name in (name for name, entry in manifest.items() if entry["size"] > LARGE):
        move(name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(move, [name for name, entry in manifest.items() if entry["size"] <= LARGE]))


def check_key(key: str) -> str:
    """The key, if it is a relative path that stays inside; else InfraError."""
    parts = key.split("/")
    bad = "\0" in key or "\\" in key or any(part in ("", ".", "..") for part in parts)
    if bad or len(key.encode()) > 900 or max(len(part.encode()) for part in parts) > 250:
        raise InfraError(
            "this is no key of a store", where=repr(key[:200]), do="use a short relative path like a/b.json"
        )
    return key


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(folder: Path) -> Manifest:
    """Size and SHA-256 of every file under `folder`, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise InfraError("there is nothing in the folder to store", where=str(folder), do="check the path")
    names = {path.relative_to(folder).as_posix(): path for path in files}
    if MANIFEST in names:
        raise InfraError(f"{MANIFEST} is the store's own name", where=str(folder), do="give the file another name")
    return {name: FileEntry(size=path.stat().st_size, sha256=digest(path)) for name, path in names.items()}


def missing(url: str, key: str) -> ObjectMissing:
    """The error for a key that is not there."""
    return ObjectMissing("there is no such object", where=f"{url}/{key}", do="check the key, or run what makes it")


def _parse(data: bytes, where: str) -> Manifest:
    """A manifest as it was written; its names come from outside and may not leave the folder."""
    try:
        files: Manifest = json.loads(data)["files"]
        return {check_key(name): FileEntry(size=int(e["size"]), sha256=str(e["sha256"])) for name, e in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged("the manifest is damaged", where=where, do="store the folder again") from None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

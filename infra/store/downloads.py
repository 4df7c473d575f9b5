"""Objects of any S3 bucket brought to this machine once, each in the version that was asked for."""

import glob
import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from infra.errors import InfraError
from infra.store.base import check_key
from infra.store.s3 import S3Store

TRIES = 3


@dataclass(frozen=True)
class Objects:
    """What an address names now: keys with their ETags, sorted. `single`: the address is one object's own."""

    bucket: S3Store
    etags: dict[str, str]
    single: bool


def find_objects(url: str) -> Objects:
    """The object `s3://bucket/key`, or all below that prefix, or those that a pattern names. Raises InfraError."""
    name, _, path = url.removeprefix("s3://").partition("/")
    bucket = S3Store(f"s3://{name}")
    if glob.has_magic(path):
        start = path[: min(path.find(mark) for mark in "*?[" if mark in path)]
        keys = [key for key in bucket.list(start) if fnmatchcase(key, path)]
    elif path and not path.endswith("/") and bucket.exists(check_key(path)):
        return Objects(bucket, {path: bucket.etag(path)}, single=True)
    else:
        keys = list(bucket.list(f"{path.rstrip('/')}/" if path else ""))
    found = {check_key(key): bucket.etag(key) for key in keys if not key.endswith("/")}
    if not found:
        raise InfraError("there is no such object", where=url, do="check bucket and key; a folder ends with /")
    return Objects(bucket, dict(sorted(found.items())), single=False)


def version_of(objects: Objects) -> str:
    """SHA-256 of keys and ETags: what names the content without fetching it."""
    listed = "\n".join(f"{key}\t{etag}" for key, etag in objects.etags.items())
    return hashlib.sha256(f"{objects.bucket.url}\n{listed}".encode()).hexdigest()


def fetch_objects(objects: Objects, folder: Path) -> Path:
    """The objects as files below `folder`/VERSION; what is there already is left alone. The one file, or the folder.

    Raises InfraError for an object that is written while it is read.
    """
    home = folder / version_of(objects)[:16]
    for key, etag in objects.etags.items():
        path = home / key
        if not path.is_file():
            _fetch(objects.bucket, key, etag, path)
    home.touch()  # housekeeping goes by its last use
    return home / next(iter(objects.etags)) if objects.single else home


def _fetch(bucket: S3Store, key: str, etag: str, path: Path) -> None:
    for _ in range(TRIES):
        bucket.get_file(key, path)
        if bucket.etag(key) == etag:
            return
        path.unlink()
    says, do = "the object is not what it was when the run began", "start again when no one writes it"
    raise InfraError(says, where=f"{bucket.url}/{key}", do=do)

"""A version as a file of one's own: its rows as they are stored, without those that were forgotten since."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dpo_core.errors import InputError
from infra.datasets.names import parse
from infra.datasets.shelf import find
from infra.store.base import Store
from tasks.datasets.records import DatasetExported
from tasks.runtime.datasets import lines_left

SUFFIX = ".jsonl"
OTHER_FILE = "name a file that is not there yet, in a folder that is"


class ExportedRows(NamedTuple):
    """What a file holds: rows, bytes, their SHA-256."""

    rows: int
    size: int
    sha256: str


def export_version(store: Store, named: str, file: Path) -> DatasetExported:
    """Write the rows that are left of a version to `file`, which is complete or not there, whatever ends this.

    Raises InputError where the file is there already, cannot be written, or no row is left; InfraError.
    """
    version = find(store, parse(named))
    with _told(file):
        _require_new(file)
    lines = lines_left(version)
    part = file.with_name(f".dpo-{os.getpid()}.part")
    try:
        with _told(file):
            written = _write(lines, part)
        if not written.rows:
            says, do = "every row of it was forgotten: there is nothing to write", "export another version"
            raise InputError(says, where=version.ref, do=do)
        with _told(file):
            os.link(part, file)  # unlike a rename it never takes the place of another's
    finally:
        part.unlink(missing_ok=True)
    left_out = version.rows - written.rows
    return DatasetExported(dataset=version.ref, file=str(file), forgotten=left_out, **written._asdict())


def _write(lines: Iterable[bytes], part: Path) -> ExportedRows:
    sha256, rows, size = hashlib.sha256(), 0, 0
    with part.open("wb") as target:
        for line in lines:
            target.write(line)
            sha256.update(line)
            rows, size = rows + 1, size + len(line)
    return ExportedRows(rows, size, sha256.hexdigest())


def _require_new(file: Path) -> None:
    if file.suffix != SUFFIX:
        says = f"the name of the file does not end in {SUFFIX}, which is how its rows are read again"
        raise InputError(says, where=str(file), do=f"call it {file.stem or 'pairs'}{SUFFIX}")
    if file.exists() or file.is_symlink():
        raise FileExistsError
    if not file.parent.is_dir():
        raise InputError("there is no such folder", where=str(file.parent), do=OTHER_FILE)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    """What the file's folder refuses, as what to do."""
    try:
        yield
    except FileExistsError:
        raise InputError("there is such a file already; it stays as it is", where=str(file), do=OTHER_FILE) from None
    except OSError as error:
        says, do = f"the file cannot be written: {error.strerror or error}", "check the path, the room, who may write"
        raise InputError(says, where=str(file), do=do) from None

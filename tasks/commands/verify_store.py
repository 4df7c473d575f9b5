"""What lies in the store, how much of it, and whether every byte is what was written."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from pydantic import ValidationError

from infra.datasets import shelf
from infra.datasets.manifest import DatasetVersion
from infra.errors import InfraError, ObjectMissing
from infra.store.base import MANIFEST, Store, StoredObject

READERS = 4  # objects that are read at the same time


@dataclass(frozen=True)
class Total:
    """Objects of one kind (the first part of their keys) and their bytes together."""

    kind: str
    objects: int
    size: int


@dataclass(frozen=True)
class Verified:
    """What was read; `damaged` says what is wrong with which key, `unknown` counts objects that carry no digest."""

    objects: int
    size: int
    unknown: int
    damaged: list[dict[str, str]]


def totals(entries: Sequence[StoredObject]) -> list[Total]:
    """Sizes by kind, the largest first."""
    kinds: dict[str, list[int]] = {}
    for entry in entries:
        kinds.setdefault(entry.key.split("/")[0], []).append(entry.size)
    found = [Total(kind, len(sizes), sum(sizes)) for kind, sizes in kinds.items()]
    return sorted(found, key=lambda total: -total.size)


def verify(store: Store, prefix: str = "") -> Verified:
    """Read every object: its SHA-256 must be the one beside it, in its folder's manifest, and in its name."""
    from tasks.runtime.progress import progress_bar

    entries = list(store.entries(prefix))
    promised, damaged = _promises(store, entries)
    size, unknown = sum(entry.size for entry in entries), 0
    with ThreadPoolExecutor(READERS) as pool, progress_bar("verify", total=size, unit="B", scale=True) as bar:
        found = pool.map(partial(_fault, store, promised), [entry.key for entry in entries])
        for entry, fault in zip(entries, found, strict=True):
            bar.update(entry.size)
            unknown += fault is None
            damaged += [{"key": entry.key, "says": fault}] if fault else []
    return Verified(len(entries), size, unknown, damaged)


def _promises(store: Store, entries: Sequence[StoredObject]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """SHA-256 that manifests and names promise, by key; and the manifests that cannot be kept."""
    keys = {entry.key for entry in entries}
    promised: dict[str, str] = {}
    damaged: list[dict[str, str]] = []
    for key in sorted(keys):
        path = PurePosixPath(key)
        if path.parts[0] == "reference" and path.suffix == ".safetensors":
            promised[key] = path.stem
        if path.match(shelf.RECORDS):
            damaged += _rows_of_version(store, key, keys)
        if path.name != MANIFEST:
            continue
        try:
            files = {
                f"{path.parent}/{name}": entry["sha256"] for name, entry in store.manifest(str(path.parent)).items()
            }
        except InfraError as error:
            damaged.append({"key": key, "says": error.says})
            continue
        promised |= files
        damaged += [
            {"key": name, "says": "its folder's manifest names it, and it is not there"} for name in files.keys() - keys
        ]
    return promised, damaged


def _rows_of_version(store: Store, key: str, keys: set[str]) -> list[dict[str, str]]:
    """What is wrong with the record of a data set's version, or with the rows that it names."""
    try:
        version = DatasetVersion.model_validate_json(store.get_bytes(key))
        found = store.manifest(shelf.content_key(version.sha256))[shelf.ROWS]["sha256"]
    except (ValidationError, KeyError):
        return [{"key": key, "says": "this is no record of a data set's version, or its rows have no manifest"}]
    except ObjectMissing:
        return [{"key": key, "says": "the rows of this version are not there"}]
    except InfraError:  # damaged bytes are told where each object is read
        return []
    same = found == version.sha256
    return [] if same else [{"key": key, "says": f"its rows are {found} by their manifest, not {version.sha256}"}]


def _fault(store: Store, promised: Mapping[str, str], key: str) -> str | None:
    """What is wrong with an object; empty if nothing is, None if nothing says what it should be."""
    try:
        digests = store.digests(key)
    except ObjectMissing:  # removed meanwhile
        return ""
    except InfraError as error:
        return error.says
    wanted = {digest for digest in (digests.recorded, promised.get(key)) if digest}
    if not wanted:
        return None
    return "" if wanted == {digests.found} else f"its SHA-256 is {digests.found}, not {' or '.join(sorted(wanted))}"

"""Versions in the store: rows under their digest first, then a create-only record with the next number.

    dataset_rows/SHA256/             rows.jsonl, ids.bin, MANIFEST.json: what is named by the digest of the rows
    datasets/NAME/versions/000001.json

A writer that was killed before the record leaves rows that no version names: garbage collection removes them.
"""

import difflib
import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from infra.datasets.manifest import DatasetVersion
from infra.datasets.names import DatasetRef
from infra.errors import Damaged, InfraError, ObjectMissing
from infra.ledger.create_only import require_create_only
from infra.store.base import AT_ONCE, Store

log = logging.getLogger("dpo.datasets")
ROOT, CONTENT = "datasets", "dataset_rows"  # first folders of keys
RECORDS = f"{ROOT}/*/versions/*.json"
ROWS, IDS = "rows.jsonl", "ids.bin"
TIMES = 50  # that a lost race for a number is run again


class Shelved(NamedTuple):
    """A version, and whether it was not there before."""

    version: DatasetVersion
    is_new: bool


def shelve(store: Store, draft: DatasetVersion, folder: Path) -> Shelved:
    """Store the rows of `folder` (ROWS and IDS) as the next version of `draft.name`; `draft.number` does not count.

    A version of that name with the same rows is taken instead: then nothing is written but its manifest, anew.
    """
    require_create_only(store)
    store.put_folder(content_key(draft.sha256), folder)
    tried: DatasetVersion | None = None
    for _ in range(TIMES):
        known = records(store, draft.name)
        if same := next((version for version in known if version.sha256 == draft.sha256), None):
            return Shelved(same, same == tried)  # ours, where the answer to our write was lost
        tried = draft.model_copy(update={"number": known[-1].number + 1 if known else 1})
        data = json.dumps(tried.model_dump(mode="json"), ensure_ascii=False, indent=1, sort_keys=True).encode()
        if store.put_bytes(_key(draft.name, tried.number), data, create_only=True):
            log.info("dataset_version name=%s version=%d rows=%d", tried.name, tried.number, tried.rows)
            return Shelved(tried, is_new=True)
    do = "wait until the other writers are done, then run the same command again"
    raise InfraError("others write versions of this data set all the time", where=f"data set {draft.name}", do=do)


def names(store: Store) -> list[str]:
    """Names of all data sets, sorted."""
    return sorted({key.split("/")[1] for key in store.list(f"{ROOT}/") if _number(key) is not None})


def records(store: Store, name: str) -> list[DatasetVersion]:
    """What is recorded of each version, oldest first, whether or not its rows are there still."""
    numbers = _numbers(store, name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda number: _record(store, name, number), numbers))


def versions(store: Store, name: str) -> list[DatasetVersion]:
    """The complete versions, oldest first. Raises ObjectMissing where no data set is called so."""
    known = records(store, name)
    if not known:
        raise _no_dataset(store, name)
    return [version for version in known if is_complete(store, version)]


def find(store: Store, ref: DatasetRef) -> DatasetVersion:
    """The version that `ref` names now. Raises ObjectMissing where there is none, or its rows are gone."""
    numbers = _numbers(store, ref.name)
    if not numbers:
        raise _no_dataset(store, ref.name)
    if ref.number is None:
        return _latest(store, ref.name, numbers)
    if ref.number not in numbers:
        gone = ref.number < numbers[-1]
        says = f"version {ref.number} of data set {ref.name} is gone" if gone else f"there is no {ref} yet"
        raise ObjectMissing(says, where=f"{store.url}/{_key(ref.name, ref.number)}", do=_there(numbers))
    version = _record(store, ref.name, ref.number)
    if not is_complete(store, version):
        where, others = f"{store.url}/{content_key(version.sha256)}", [n for n in numbers if n != ref.number]
        raise ObjectMissing(f"the rows of {ref} are gone", where=where, do=_there(others))
    return version


def is_complete(store: Store, version: DatasetVersion) -> bool:
    """Whether its rows are there."""
    return store.has_folder(content_key(version.sha256))


def content_key(sha256: str) -> str:
    """The folder of a version's rows in the store."""
    return f"{CONTENT}/{sha256}"


def row_ids(store: Store, version: DatasetVersion) -> bytes:
    """The ids that were written beside the rows, in their order."""
    return store.get_bytes(f"{content_key(version.sha256)}/{IDS}")


def _latest(store: Store, name: str, numbers: list[int]) -> DatasetVersion:
    for number in reversed(numbers):
        version = _record(store, name, number)
        if is_complete(store, version):
            return version
        log.warning("dataset_rows_gone name=%s version=%d action='taken is the one before'", name, number)
    where = f"{store.url}/{ROOT}/{name}"
    raise ObjectMissing(f"the rows of every version of data set {name} are gone", where=where, do=_there([]))


def _numbers(store: Store, name: str) -> list[int]:
    return sorted(number for key in store.list(f"{ROOT}/{name}/versions/") if (number := _number(key)) is not None)


def _number(key: str) -> int | None:
    """The number of the version whose record has this key; None: it is no record."""
    parts = key.split("/")
    stem, dot, suffix = parts[-1].partition(".")
    right = len(parts) == 4 and parts[2] == "versions" and dot and suffix == "json" and stem.isascii()
    return int(stem) if right and stem.isdigit() and len(stem) >= 6 else None


def _record(store: Store, name: str, number: int) -> DatasetVersion:
    key = _key(name, number)
    try:
        found = DatasetVersion.model_validate_json(store.get_bytes(key))
    except ValidationError:
        found = None
    if found is None or (found.name, found.number) != (name, number):
        do = "put it back from a backup or the bucket's versions; `dpo store verify` names what else is damaged"
        raise Damaged("the record of a data set's version cannot be read", where=f"{store.url}/{key}", do=do)
    return found


def _key(name: str, number: int) -> str:
    return f"{ROOT}/{name}/versions/{number:06d}.json"


def _no_dataset(store: Store, name: str) -> ObjectMissing:
    known = names(store)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    do = f"did you mean {_or(near)}? `dpo data ls` lists them" if near else "`dpo data ls` lists them"
    if not known:
        do = "`dpo data add NAME FILE` makes the first version of one"
    return ObjectMissing(f"there is no data set {name}", where=store.url, do=do)


def _or(words: Iterable[str]) -> str:
    return " or ".join(words)


def _there(numbers: list[int]) -> str:
    if not numbers:
        return "put them back from a backup, or add the data again: `dpo data add NAME FILE`"
    shown = ", ".join(map(str, numbers[-10:]))
    return f"take another version: {shown} {'are' if len(numbers) > 1 else 'is'} there"

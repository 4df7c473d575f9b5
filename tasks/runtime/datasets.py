"""A data set of the store as a source: its version, its digest, and its rows as a file, forgotten ones taken out."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.columns import FORGOTTEN
from dpo_core.data.digests import digest_file, digest_json
from dpo_core.data.pairs import Pair
from dpo_core.data.readers import chunks_of, read_chunk
from dpo_core.data.sources import DATASET
from dpo_core.recipe import Recipe
from infra.datasets.forgotten import forgotten
from infra.datasets.manifest import DatasetVersion
from infra.datasets.names import parse
from infra.datasets.shelf import ROWS, content_key, find, row_ids
from infra.errors import Damaged
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from tasks.runtime.scratch import scratch_folder

log = logging.getLogger("dpo.datasets")
KINDS = 3  # ids a row has: its own, its prompt's, its words'
TRAIN_TAG, EVAL_TAG = "dpo.dataset", "dpo.dataset_eval"  # tags of a run and of a version of a model
MARK = f'{{"{FORGOTTEN}": true}}\n'.encode()  # in the place of a row, so that the others keep their line numbers


def is_dataset(source: str) -> bool:
    """Whether a source is a data set of the store."""
    return source.startswith(DATASET)


def dataset_version(source: str) -> DatasetVersion:
    """The version that `dataset:NAME[@VERSION]` means now. Raises InfraError."""
    return find(open_store(load_settings()), parse(source))


def pinned(recipe: Recipe) -> Recipe:
    """The recipe with the number of each data set's version in its place: a name that does not move."""
    data = recipe.data
    sources = {"train": data.train, "eval": data.eval}
    changes = {key: dataset_version(source).ref for key, source in sources.items() if source and is_dataset(source)}
    return recipe.model_copy(update={"data": data.model_copy(update=changes)}) if changes else recipe


def dataset_tags(recipe: Recipe) -> dict[str, str]:
    """Tags that name the versions which a (pinned) recipe trains on and holds out."""
    sources = {TRAIN_TAG: recipe.data.train, EVAL_TAG: recipe.data.eval}
    return {tag: source for tag, source in sources.items() if source and is_dataset(source)}


def dataset_digest(source: str) -> str:
    """The SHA-256 of a version's rows; of what is left of them where some were forgotten."""
    store = open_store(load_settings())
    version = find(store, parse(source))
    return _digest(version, forgotten_rows(store, version))


def forgotten_rows(store: Store, version: DatasetVersion) -> NDArray[np.int64]:
    """Indices of the rows of a version that were forgotten since it was made, ascending."""
    names = forgotten(store)
    return rows_named(ids_of(store, version), names) if names else np.zeros(0, np.int64)


def ids_of(store: Store, version: DatasetVersion) -> NDArray[np.bytes_]:
    """(rows, KINDS): ids of each row, as digests of 32 bytes: its own, its prompt's, its words'."""
    data = row_ids(store, version)
    if len(data) != version.rows * KINDS * 32:
        where, do = f"{store.url}/{content_key(version.sha256)}", "put it back from a backup, or add the data again"
        raise Damaged("the ids of a data set's version are not as many as its rows", where=where, do=do)
    return np.frombuffer(data, "S32").reshape(-1, KINDS)


def rows_named(ids: NDArray[np.bytes_], names: frozenset[str]) -> NDArray[np.int64]:
    """Indices of the rows that any of the names (hex) is an id of."""
    wanted = np.array([bytes.fromhex(name) for name in sorted(names)], "S32")
    return np.flatnonzero(np.isin(ids, wanted).any(axis=1))


def local_dataset(source: str, home: Path) -> Path:
    """The rows as a file under `home`/downloads/datasets; what was forgotten since is not in it.

    Raises Damaged where the rows are not what was written.
    """
    store = open_store(load_settings(), patient=True)
    version = find(store, parse(source))
    out = forgotten_rows(store, version)
    digest = _digest(version, out)
    path = _fetched(home) / f"{version.name}@{version.number}-{digest[:12]}" / ROWS
    if path.is_file() and (len(out) or digest_file(path) == version.sha256):
        path.parent.touch()  # housekeeping goes by its last use
        return path
    with scratch_folder(home) as scratch:
        fetched = scratch / ROWS
        key = f"{content_key(version.sha256)}/{ROWS}"
        store.get_file(key, fetched)
        if digest_file(fetched) != version.sha256:
            do = "put the object back from a backup, or add the data again: `dpo data add NAME FILE`"
            raise Damaged(
                f"the rows of {version.ref} are not those that were written", where=f"{store.url}/{key}", do=do
            )
        if len(out):
            log.warning("forgotten_left_out dataset=%s rows=%d", version.ref, len(out))
            fetched = _without(fetched, set(out.tolist()), scratch / "kept.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(path)
    return path


def fetched_copies(version: DatasetVersion) -> list[Path]:
    """The folders of this machine that hold rows of a version, as it was read at one time or another."""
    return sorted(_fetched(load_settings().home).glob(f"{version.name}@{version.number}-*"))


def _fetched(home: Path) -> Path:
    return home / "downloads" / "datasets"


def rows_left(version: DatasetVersion) -> Iterator[Pair | None]:
    """The rows of a version in order; None for one that was forgotten since."""
    for chunk in chunks_of(str(local_dataset(version.ref, load_settings().home))):
        rows, _ = read_chunk(chunk)
        yield from (row if isinstance(row, Pair) else None for row in rows)


def lines_left(version: DatasetVersion) -> Iterator[bytes]:
    """The rows of a version as they are stored, a line each, in order; what was forgotten since is not among them."""
    path = local_dataset(version.ref, load_settings().home)

    def lines() -> Iterator[bytes]:
        with path.open("rb") as rows:
            yield from (line for line in rows if line != MARK)

    return lines()


def _digest(version: DatasetVersion, out: NDArray[np.int64]) -> str:
    return digest_json([version.sha256, out.tolist()]) if len(out) else version.sha256


def _without(path: Path, out: set[int], target: Path) -> Path:
    """The file with a mark in the place of each row of `out`."""
    with path.open("rb") as rows, target.open("wb") as kept:
        kept.writelines(MARK if number in out else line for number, line in enumerate(rows))
    return target

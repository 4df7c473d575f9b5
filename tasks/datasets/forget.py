"""A row or a prompt that is left out from now on, wherever it comes from; and who has had it."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dpo_core.errors import InputError
from infra.datasets import shelf
from infra.datasets.forgotten import forget
from infra.datasets.manifest import DatasetVersion
from infra.store.base import Store
from tasks.datasets.look import models_of
from tasks.datasets.records import ForgottenDocument, RowsHeld
from tasks.datasets.rows import RowIds, ids_of_pair
from tasks.datasets.trained import rows_hold
from tasks.runtime.datasets import fetched_copies, ids_of, rows_left, rows_named

SHORTEST = 8  # digits of an id that is not written out
WHOLE = 64
# of data checks, of curations, and of training.online
ROWS_OF_RUNS = ("train.jsonl", "eval.jsonl", "pairs.jsonl", "checked.jsonl", "online.jsonl")
DIGITS = frozenset("0123456789abcdef")
Ids = NDArray[np.bytes_]


@dataclass(frozen=True)
class Meant:
    """What an id stands for: its kind, and what is put on record."""

    kind: str
    ids: frozenset[str]


def forget_id(store: Store, asked: str, *, why: str, who: str) -> ForgottenDocument:
    """Put a row or a prompt on record as forgotten. Raises InputError where the id is none, or is that of several.

    A row is forgotten by its words too: the same ones with another source or score stay out as well.
    """
    asked = asked.strip()
    versions = list(every_version(store))
    contents = {version.sha256: ids_of(store, version) for version in versions}
    meant = _meant(asked, list(contents.values())) or _by_row_id(asked, versions)
    if meant is None:
        says, do = "no row and no prompt has this id", "`dpo data show NAME` prints ids; one is 64 digits, 8 will do"
        raise InputError(says, where=asked[:200], do=do)
    new = forget(store, asked, sorted(meant.ids), why=why, who=who)
    counts = {sha256: len(rows_named(ids, meant.ids)) for sha256, ids in contents.items()}
    holding = [version for version in versions if counts[version.sha256]]
    contents_held = sorted({f"{shelf.content_key(version.sha256)}/" for version in holding})
    return ForgottenDocument(
        asked=asked,
        kind=meant.kind,
        ids=sorted(meant.ids),
        new=new,
        held_by=[RowsHeld(dataset=version.ref, rows=counts[version.sha256]) for version in holding],
        kept_in=[*contents_held, *_rows_of_runs(store, meant.ids)],
        deleted_here=_delete_copies(holding),
        models=models_of(store, holding, meant.ids) if holding else [],
    )


def every_version(store: Store) -> Iterator[DatasetVersion]:
    """All complete versions of all data sets."""
    for name in shelf.names(store):
        yield from shelf.versions(store, name)


def _rows_of_runs(store: Store, names: frozenset[str]) -> list[str]:
    """The folders of rows, as checks, curations and trainings kept them, that hold one of the ids: all are read."""
    kept = [key for key in store.list("data/") if PurePosixPath(key).name in ROWS_OF_RUNS]
    return sorted({f"{PurePosixPath(key).parent}/" for key in kept if rows_hold(store, key, names)})


def _delete_copies(versions: list[DatasetVersion]) -> list[str]:
    """Delete what this machine has fetched of these versions: with the rows, or as others were forgotten before."""
    copies = [copy for version in versions for copy in fetched_copies(version)]
    for copy in copies:
        shutil.rmtree(copy, ignore_errors=True)
    return [str(copy) for copy in copies]


def _meant(asked: str, held: list[Ids]) -> Meant | None:
    """What a digest, or how one begins, stands for; None for what is none, or is in no version."""
    start = asked.lower()
    if len(start) < SHORTEST or len(start) > WHOLE or not DIGITS.issuperset(start):
        return None
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for ids in held:
        for row, kind in zip(*_beginning(ids, start), strict=True):
            names = RowIds(*(name.ljust(32, b"\0").hex() for name in ids[row].tolist()))
            name = names[kind]
            found[name] = (RowIds._fields[kind], frozenset([names.row, names.words] if kind == 0 else [name]))
    if len(found) > 1:
        raise _several(asked, sorted(found))
    if not found:
        return Meant("unknown", frozenset([start])) if len(start) == WHOLE else None
    return Meant(*next(iter(found.values())))


def _beginning(ids: Ids, start: str) -> tuple[list[int], list[int]]:
    """Rows and kinds of the ids that begin so."""
    whole = np.frombuffer(bytes.fromhex(start[: len(start) // 2 * 2]), np.uint8)
    digits = ids.view(np.uint8).reshape(len(ids), -1, 32)
    right = (digits[..., : len(whole)] == whole).all(axis=-1)
    if len(start) % 2:
        right &= digits[..., len(whole)] >> 4 == int(start[-1], 16)
    rows, kinds = np.nonzero(right)
    return rows.tolist(), kinds.tolist()


def _by_row_id(asked: str, versions: list[DatasetVersion]) -> Meant | None:
    """What a row is called by the file that it came from. Rows are read, each content once."""
    found: dict[str, set[str]] = defaultdict(set)
    for version in {version.sha256: version for version in versions}.values():
        for pair in rows_left(version):
            if pair is not None and pair.row_id == asked:
                ids = ids_of_pair(pair)
                found[ids.prompt] |= {ids.row, ids.words}
    if len(found) > 1:
        raise _several(asked, sorted(found))
    return Meant("row_id", frozenset().union(*found.values())) if found else None


def _several(asked: str, names: list[str]) -> InputError:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    do = f"name one of them: {', '.join(names[:5])}{more}"
    return InputError(f"{len(names)} rows or prompts are called so", where=asked[:200], do=do)

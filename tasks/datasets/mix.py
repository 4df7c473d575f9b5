"""A version drawn from several: each gives all its rows, a share of them, or a number of them at most.

Which rows are drawn goes by a hash of the row's id with the names of both data sets, so that a share is the same rows
whatever was added since, to this source or to another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from infra.datasets.manifest import DatasetSource, DatasetVersion, MadeBy
from infra.datasets.names import PREFIX, DatasetRef, parse, require_name
from infra.datasets.shelf import Shelved, find
from infra.store.base import Store
from tasks.datasets.rows import place
from tasks.datasets.write import licence_of, put_version
from tasks.runtime.datasets import forgotten_rows, ids_of, rows_left
from tasks.runtime.provenance import user

Bools = NDArray[np.bool_]
DO = "write NAME@VERSION, NAME@VERSION:0.5 (half of its rows) or NAME@VERSION:500 (at most 500 of them)"


@dataclass(frozen=True)
class MixPart:
    """One source of a mix: `share` of its rows (0 to 1), or at most `cap` of them."""

    ref: DatasetRef
    share: float = 1.0
    cap: int | None = None


@dataclass(frozen=True)
class Drawn:
    """The rows that a version gives: `rows` marks them; `repeated` and `forgotten` count what was left out."""

    version: DatasetVersion
    rows: Bools
    repeated: int
    forgotten: int


def parse_part(text: str) -> MixPart:
    """`NAME[@VERSION][:SHARE|:CAP]`; a number with a point is a share of its rows. Raises InputError."""
    name, colon, amount = text.removeprefix(PREFIX).partition(":")
    if not colon:
        return MixPart(parse(name))
    if amount.isascii() and amount.isdigit() and int(amount):
        return MixPart(parse(name), cap=int(amount))
    try:
        share = float(amount) if "." in amount else 0.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"{amount[:40]!r} is no share and no number of rows", where=f"--from {text[:200]}", do=DO)
    return MixPart(parse(name), share=share)


def mix_versions(store: Store, name: str, parts: Sequence[MixPart], *, notes: str = "") -> Shelved:
    """Draw from each part in turn, and store what was drawn as the next version of `name`.

    A row that an earlier part has given is taken once. Licences are carried along.
    """
    name = require_name(name)
    if not parts:
        raise InputError("a mix is made of data sets, and none is named", where=f"data set {name}", do=DO)
    drawn = draw(store, name, parts)

    def rows() -> Iterator[Pair]:
        for some in drawn:
            left = zip(rows_left(some.version), some.rows, strict=True)
            yield from (pair for pair, wanted in left if wanted and pair is not None)

    def complete(draft: DatasetVersion) -> DatasetVersion:
        sources = (
            DatasetSource(source=v.ref, rows=int(some.rows.sum()), sha256=v.sha256, licence=licence_of([v]))
            for some in drawn
            for v in [some.version]
        )
        left_out = draft.forgotten + sum(some.forgotten for some in drawn)
        counts = {"repeated": sum(some.repeated for some in drawn), "forgotten": left_out}
        return draft.model_copy(update={"sources": tuple(sources), **counts})

    parents = [some.version for some in drawn]
    made = MadeBy(user=user(), how="mix")
    return put_version(store, name, rows(), parents=parents, made_by=made, notes=notes, complete=complete)


def draw(store: Store, name: str, parts: Sequence[MixPart]) -> list[Drawn]:
    """Which rows of each part go into a mix called `name`."""
    taken: set[bytes] = set()
    found = []
    for part in parts:
        version = find(store, part.ref)
        ids: list[bytes] = ids_of(store, version)[:, 0].tolist()
        out = set(forgotten_rows(store, version).tolist())
        known = [row for row in range(len(ids)) if row not in out]
        fresh = []
        for row in known:
            if ids[row] not in taken:
                taken.add(ids[row])
                fresh.append(row)
        chosen = _chosen(fresh, [ids[row].ljust(32, b"\0").hex() for row in fresh], f"{name}/{version.name}", part)
        taken.difference_update(ids[row] for row in set(fresh) - set(chosen))  # a later part may give them
        rows = np.zeros(len(ids), np.bool_)
        rows[chosen] = True
        found.append(Drawn(version, rows, len(known) - len(fresh), len(out)))
    return found


def _chosen(rows: Sequence[int], names: Sequence[str], salt: str, part: MixPart) -> list[int]:
    """Those of the rows whose places are below the share, or the lowest."""
    if part.cap is None and part.share == 1:
        return list(rows)
    places = np.array([place(salt, name) for name in names])
    if part.cap is not None:
        lowest = np.argsort(places, kind="stable")[: part.cap]
        return [rows[number] for number in np.sort(lowest).tolist()]
    return [row for row, at in zip(rows, places.tolist(), strict=True) if at < part.share]

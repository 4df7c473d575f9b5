"""New versions of a data set: from rows, or from a finished file."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dpo_core.data.columns import FORGOTTEN
from dpo_core.data.pairs import Pair
from dpo_core.data.readers import Quarantined, stream_rows
from dpo_core.errors import InputError
from infra.datasets.forgotten import forgotten
from infra.datasets.manifest import DatasetParent, DatasetSource, DatasetVersion, MadeBy
from infra.datasets.names import parse, require_name
from infra.datasets.shelf import IDS, ROWS, Shelved, find, shelve
from infra.secrets import without_secrets
from infra.settings import load_settings
from infra.store.base import Store
from tasks.datasets.rows import ids_of_pair, line_of, pair_of
from tasks.runtime.datasets import is_dataset
from tasks.runtime.provenance import user
from tasks.runtime.scratch import scratch_folder
from tasks.runtime.sources import local_source, version_of_source

NAMED = 200  # sources of rows that a record counts by name
OTHERS = "(others)"
AND = " AND "  # between the licences of one source, as SPDX writes it
Row = Pair | Mapping[str, object]


@dataclass
class Written:
    """What was written so far; `by_source` counts rows by what they say of their source."""

    rows: int = 0
    size: int = 0
    forgotten: int = 0
    by_source: Counter[str] = field(default_factory=Counter)


def put_version(
    store: Store,
    name: str,
    rows: Iterable[Row],
    *,
    complete: Callable[[DatasetVersion], DatasetVersion],
    parents: Sequence[DatasetVersion] = (),
    made_by: MadeBy | None = None,
    notes: str = "",
) -> Shelved:
    """Store `rows` (pairs, or rows in any shape that is read) as the next version of the data set `name`.

    Forgotten rows are left out. The same rows in the same order give the version that holds them already. `complete`
    adds to the record once the rows are written: its sources, whose licences are carried along, as are those of
    `parents`, the versions that rows were taken from. Raises InputError for a row that is no pair, and where no row is
    left.
    """
    name = require_name(name)
    with scratch_folder(load_settings().home) as scratch:
        folder = scratch / "version"
        folder.mkdir()
        written, sha256 = _write(rows, folder, forgotten(store), name)
        draft = DatasetVersion(
            name=name,
            number=0,
            created=datetime.now(UTC).isoformat(),
            made_by=made_by or MadeBy(user=user()),
            rows=written.rows,
            size=written.size,
            sha256=sha256,
            parents=tuple(DatasetParent(name=p.name, number=p.number, sha256=p.sha256) for p in parents),
            by_source=_largest(written.by_source),
            forgotten=written.forgotten,
            notes=without_secrets(notes),
        )
        draft = complete(draft)
        draft = draft.model_copy(update={"licences": _licences(draft.sources, parents)})
        return shelve(store, draft, folder)


def add_source(
    store: Store, name: str, source: str, *, licence: str = "", notes: str = ""
) -> tuple[Shelved, Quarantined | None]:
    """The pairs of any source that is read, as a version; and the first row that is no pair: such are left out.

    Of a data set of the store its licences are carried along, beside `licence`.
    """
    name = require_name(name)
    parents = [find(store, parse(source))] if is_dataset(source) else []
    source = parents[0].ref if parents else source
    digest = version_of_source(source)
    bad: list[Quarantined] = []
    out = Counter[str]()

    def rows() -> Iterable[Pair]:
        for row in stream_rows(local_source(source, load_settings().home)):
            if isinstance(row, Pair):
                yield row
                continue
            out["forgotten" if row.reason.startswith(FORGOTTEN) else "unreadable"] += 1
            if not bad and not row.reason.startswith(FORGOTTEN):
                bad.append(row)

    def complete(draft: DatasetVersion) -> DatasetVersion:
        whose = licence or licence_of(parents)
        origin = DatasetSource(source=without_secrets(source), rows=draft.rows, sha256=digest, licence=whose)
        counts = {"unreadable": out["unreadable"], "forgotten": draft.forgotten + out["forgotten"]}
        return draft.model_copy(update={"sources": (origin,), **counts})

    made = MadeBy(user=user(), how="add")
    done = put_version(store, name, rows(), parents=parents, made_by=made, notes=notes, complete=complete)
    return done, bad[0] if bad else None


def licence_of(versions: Sequence[DatasetVersion]) -> str:
    """The licences of all rows of some versions, as one."""
    return AND.join(licence for licence in _licences((), versions) if licence)


def _write(rows: Iterable[Row], folder: Path, out: frozenset[str], name: str) -> tuple[Written, str]:
    """Write rows and ids to `folder`; what was written, and the SHA-256 of the rows."""
    written, sha256, plain = Written(), hashlib.sha256(), None
    with (folder / ROWS).open("wb") as lines, (folder / IDS).open("wb") as names:
        for number, row in enumerate(rows, 1):
            pair = pair_of(row, f"row {number} of data set {name}")
            plain = pair.plain if plain is None else plain
            if pair.plain != plain:
                do = "write every row as messages, or every row as text, or make two data sets of them"
                where = pair.where or f"row {number}"
                raise InputError("some rows are plain text, and others messages", where=where, do=do)
            ids = ids_of_pair(pair)
            if not out.isdisjoint(ids):
                written.forgotten += 1
                continue
            line = line_of(pair)
            lines.write(line)
            sha256.update(line)
            names.write(ids.to_bytes())
            written.rows += 1
            written.size += len(line)
            written.by_source[pair.source] += 1
    if not written.rows:
        why = f": all {written.forgotten} were forgotten" if written.forgotten else ""
        raise InputError(f"no row is left for a version{why}", where=f"data set {name}", do="add rows")
    return written, sha256.hexdigest()


def _licences(sources: Sequence[DatasetSource], parents: Sequence[DatasetVersion]) -> tuple[str, ...]:
    own = {part for source in sources for part in source.licence.split(AND)}
    return tuple(sorted(own.union(*(parent.licences for parent in parents)))) or ("",)


def _largest(counts: Counter[str]) -> dict[str, int]:
    """The largest sources by name, the others as one."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ranked[NAMED:])
    return dict(ranked[:NAMED]) | ({OTHERS: rest} if rest else {})

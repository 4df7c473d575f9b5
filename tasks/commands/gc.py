"""Garbage collection: what no model version leads to, and nobody wrote lately, is removed.

Everything in the store is named by digests, so reachability is a matter of names: an object lives as long as a living
record names its digest. Records are the versions' tags and lineage, and the stages that these name. What is younger
than a week lives too, with all that it names: a run writes every stage that it uses again, so a live run is young.
Answers of a curation live with the pairs that were made of them; without them they are drawn again, alike.
Versions of data sets are for good, with their rows; rows that no version names are of a writer that was killed. Rounds
that were made are for good too: what they name is a data set and a registered model, and the rest is not looked up.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from infra.datasets import shelf as datasets
from infra.errors import InfraError, ObjectMissing
from infra.registry import versions
from infra.registry.versions import Version
from infra.registry.weights import removed
from infra.store.base import MANIFEST, Store, StoredObject

DAY_S = 24 * 3600
FOLDERS = (
    "data",
    "dataset_rows",
    "models",
    "reference",
    "reports",
    "checkpoints",
    "answers",
)  # kind/name/ lives and dies together
SINGLE = ("evaluations", "stages", "lineage", "probe")
RECORDS = ("stages", "lineage")  # what they name lives with them
ROUNDS = "stages/rounds/"  # their gates cannot be asked again: not collected
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Unit:
    """What lives and dies together: a folder, or one object. `modified`: its youngest write, seconds since 1970."""

    name: str
    entries: tuple[StoredObject, ...]
    modified: float

    @property
    def size(self) -> int:
        """Bytes of all its objects."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class Garbage:
    """What nothing leads to, and uploads that nobody came back for."""

    units: list[Unit]
    unfinished: list[StoredObject]


def find_garbage(store: Store, *, older_than_s: float) -> Garbage:
    """Look at the whole store and the whole registry; remove nothing. Refuses the registry of another store."""
    units, oldest = _units(store.entries("")), time.time() - older_than_s
    registered = versions.all_versions()
    _require_matching_registry(units, {version.weights_sha256 for version in registered})
    alive = {unit.name for unit in units.values() if unit.modified > oldest}
    named = {digest for v in registered for value in v.tags.values() for digest in DIGEST.findall(value)}
    young = {name for name in alive if name.split("/")[0] in RECORDS}
    in_use = {digest for name in young for digest in _digests_in(store, units[name])}
    named |= {digest for name in alive for digest in DIGEST.findall(name)}
    named |= {version.sha256 for name in datasets.names(store) for version in datasets.records(store, name)}
    read: set[str] = set()
    while True:  # a record that lives keeps what it names, which may be a record
        alive |= {name for name in units if _is_named(name, named)}
        unread = {name for name in alive - read if name.split("/")[0] in RECORDS}
        if not unread:
            break
        read |= unread
        named = named.union(*(_digests_in(store, units[name]) for name in unread))
    removed_units = {f"models/{weights}/" for weights in weights_removed(registered) - in_use}
    alive -= {name for name in removed_units & units.keys() if units[name].modified <= oldest}
    dead = [unit for name, unit in sorted(units.items()) if name not in alive]
    return Garbage(dead, [entry for entry in store.unfinished() if entry.modified < oldest])


def weights_removed(registered: Sequence[Version]) -> set[str]:
    """The weights that `registry.keep` removed, whatever still names them: no version of any name has them."""
    having = {version.weights_sha256 for version in registered if not removed(version.tags)}
    return {version.weights_sha256 for version in registered} - having


def remove(store: Store, garbage: Garbage) -> None:
    """Remove it, each unit's manifest first; a unit that somebody wrote to since is left."""
    for unit in garbage.units:
        if max((entry.modified for entry in store.entries(unit.name)), default=0.0) > unit.modified:
            continue
        for entry in sorted(unit.entries, key=lambda entry: not entry.key.endswith(MANIFEST)):
            store.delete(entry.key)
    for entry in garbage.unfinished:
        store.drop_unfinished(entry)


def _units(entries: Iterable[StoredObject]) -> dict[str, Unit]:
    """What is ours to collect, by name; MLflow's artifacts, the ledger and what others keep here are not."""
    found: dict[str, list[StoredObject]] = {}
    for entry in entries:
        kind, *rest = entry.key.split("/")
        if entry.key.startswith(ROUNDS):
            continue
        if kind in FOLDERS and len(rest) > 1:
            found.setdefault(f"{kind}/{rest[0]}/", []).append(entry)
        elif kind in (*SINGLE, *FOLDERS):
            found.setdefault(entry.key, []).append(entry)
    return {name: Unit(name, tuple(some), max(e.modified for e in some)) for name, some in found.items()}


def _is_named(name: str, named: set[str]) -> bool:
    """Whether a living record names it; a report is named after the first digits of what it is about."""
    if name.startswith("reports/"):
        start = name.rstrip("/").rpartition("-")[2]
        return any(digest.startswith(start) for digest in named)
    return not named.isdisjoint(DIGEST.findall(name))


def _digests_in(store: Store, record: Unit) -> set[str]:
    found: set[str] = set()
    for entry in record.entries:
        try:
            found.update(DIGEST.findall(store.get_bytes(entry.key).decode("utf-8", "replace")))
        except ObjectMissing:  # removed since by another collection
            continue
    return found


def _require_matching_registry(units: Mapping[str, Unit], weights: set[str]) -> None:
    """A registry that knows none of the models would have all of them removed: it is the wrong one."""
    stored = {PurePosixPath(name).name for name in units if name.startswith("models/")}
    if stored and stored.isdisjoint(weights):
        raise InfraError(
            f"the registry knows none of the {len(stored)} models in the store",
            where=versions.address(),
            do="point MLFLOW_TRACKING_URI to the registry that this store belongs to",
        )

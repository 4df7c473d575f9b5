"""Which registered models were trained on a version of a data set, and on a row of it."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence

from dpo_core.data.pairs import Pair
from infra.datasets.manifest import DatasetVersion
from infra.errors import ObjectMissing
from infra.registry.versions import Version
from infra.store.base import Store
from tasks.datasets.records import TrainedModel
from tasks.datasets.rows import ids_of_pair
from tasks.lineage import KEY, LineageRecord

log = logging.getLogger("dpo.datasets")


def trained_models(
    store: Store,
    registered: Iterable[Version],
    datasets: Sequence[DatasetVersion],
    names: frozenset[str] | None = None,
) -> list[TrainedModel]:
    """Those of the registered versions that were trained on one of `datasets`, or started from a model that was.

    One that was trained on the file which a version was made of counts. With `names` (ids, hex) only those whose rows
    hold one of them, or are gone. A model that has no lineage is not known.
    """
    known = {(record.name, number): record for record, number in _recorded(store, registered)}
    direct = {key: _data_of(record, datasets) for key, record in known.items()}
    direct = {key: data for key, data in direct.items() if data and (names is None or _holds(store, known[key], names))}
    found = [TrainedModel(model=name, version=number, data=data) for (name, number), data in sorted(direct.items())]
    for key, record in sorted(known.items()):
        if key not in direct and (start := _first_of(record, known, direct)):
            through = f"models:/{start[0]}/{start[1]}"
            found.append(TrainedModel(model=key[0], version=key[1], data=direct[start], through=through))
    return found


def _recorded(store: Store, registered: Iterable[Version]) -> Iterator[tuple[LineageRecord, int]]:
    """The lineage of every version that has one, and its number."""
    for version in registered:
        if key := version.tags.get(KEY):
            try:
                yield LineageRecord.model_validate_json(store.get_bytes(key)), version.number
            except (ObjectMissing, ValueError):
                log.warning("lineage_gone key=%s", key)


def _data_of(record: LineageRecord, datasets: Sequence[DatasetVersion]) -> str:
    """What a model was trained on, if it is one of the data sets or what one was made of; else empty."""
    train = str(record.recipe.get("data", {}).get("train", ""))
    digest = record.data.train_sha256 or record.data.files.get(train.rstrip("/").rpartition("/")[2], "")
    for dataset in datasets:
        made_of = {dataset.sha256, *(source.sha256 for source in dataset.sources)} - {""}
        if train == dataset.ref or digest in made_of:
            return train.rstrip("/").rpartition("/")[2]
    return ""


def _holds(store: Store, record: LineageRecord, names: frozenset[str]) -> bool:
    """Whether one of the ids is of a row that the model was trained on; rows that are gone may have held it."""
    try:
        return any(rows_hold(store, key, names) for key in record.data.trained_on)
    except ObjectMissing:
        return True


def rows_hold(store: Store, key: str, names: frozenset[str]) -> bool:
    """Whether one of the ids (hex) is of a row that a data check has kept under this key."""
    lines = store.get_bytes(key).splitlines()
    return any(not names.isdisjoint(ids_of_pair(Pair.from_row(json.loads(line)))) for line in lines)


def _first_of(
    record: LineageRecord, known: dict[tuple[str, int], LineageRecord], direct: dict[tuple[str, int], str]
) -> tuple[str, int] | None:
    """The nearest ancestor that is in `direct`."""
    seen: set[tuple[str, int]] = set()
    parent = record.parent
    while parent and (key := (parent.name, parent.version)) not in seen:
        if key in direct:
            return key
        seen.add(key)
        record_of_parent = known.get(key)
        parent = record_of_parent.parent if record_of_parent else None
    return None

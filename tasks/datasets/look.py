"""What there is of data sets: a list, and one version with its first rows and its models."""

import logging
from itertools import islice

from dpo_core.data.pairs import Pair
from infra.datasets import shelf
from infra.datasets.manifest import DatasetVersion
from infra.datasets.names import parse
from infra.errors import InfraError
from infra.registry import versions as registry
from infra.store.base import Store
from tasks.datasets.records import DatasetLine, DatasetListing, DatasetShown, ShownRow, TrainedModel
from tasks.datasets.rows import ids_of_pair
from tasks.datasets.trained import trained_models
from tasks.runtime.datasets import forgotten_rows, rows_left

log = logging.getLogger("dpo.datasets")


def list_datasets(store: Store, name: str | None = None) -> DatasetListing:
    """The latest version of every data set, or all versions of one."""
    if name is not None:
        found = shelf.versions(store, parse(name).name)
        return DatasetListing(store=store.url, datasets=[_line(version, len(found)) for version in found])
    every = (shelf.versions(store, name) for name in shelf.names(store))
    return DatasetListing(store=store.url, datasets=[_line(some[-1], len(some)) for some in every if some])


def show_dataset(store: Store, named: str, rows: int) -> DatasetShown:
    """One version: its record, the first `rows` that are left of it, and the models that were trained on it."""
    version = shelf.find(store, parse(named))
    out = forgotten_rows(store, version)
    pairs = (pair for pair in rows_left(version) if pair is not None)
    return DatasetShown(
        version=version,
        latest=shelf.find(store, parse(version.name)).number,
        forgotten_since=len(out),
        models=models_of(store, [version]),
        first=[_shown(pair) for pair in islice(pairs, rows)],
    )


def models_of(
    store: Store, versions: list[DatasetVersion], names: frozenset[str] | None = None
) -> list[TrainedModel] | None:
    """`trained_models`; None where the registry does not answer."""
    try:
        registered = registry.all_versions()
    except InfraError as error:
        log.warning("registry_away says=%r action='models are not looked for'", error.says)
        return None
    return trained_models(store, registered, versions, names)


def _line(version: DatasetVersion, count: int) -> DatasetLine:
    return DatasetLine(
        name=version.name,
        version=version.number,
        versions=count,
        rows=version.rows,
        created=version.created,
        user=version.made_by.user,
        how=version.made_by.how,
        sha256=version.sha256,
        licences=list(version.licences),
    )


def _shown(pair: Pair) -> ShownRow:
    ids = ids_of_pair(pair)
    sides = {"prompt": list(pair.prompt), "chosen": list(pair.chosen), "rejected": list(pair.rejected)}
    return ShownRow(row=ids.row, prompt_id=ids.prompt, source=pair.source, pair=sides)

"""A version of a data set from rows, in one call."""

from dpo_core.data.pairs import Pair
from infra.datasets.manifest import DatasetSource, DatasetVersion
from infra.store.base import Store
from tasks.datasets.write import put_version


def write_version(
    store: Store, name: str, rows: list[dict[str, object]] | list[Pair], *, sources: tuple[DatasetSource, ...] = ()
) -> DatasetVersion:
    """The rows as the next version of `name`, said to come from `sources`."""
    return put_version(
        store, name, rows, complete=lambda draft: draft.model_copy(update={"sources": tuple(sources)})
    ).version

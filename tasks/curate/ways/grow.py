"""A data set that grows: what its latest version holds, and the new pairs behind it."""

from collections.abc import Sequence

from dpo_core.data.pairs import Pair
from dpo_core.data.readers import stream_rows
from infra.datasets.manifest import DatasetVersion
from infra.datasets.names import parse
from infra.datasets.shelf import find
from infra.errors import ObjectMissing
from infra.settings import load_settings
from infra.store.base import Store
from tasks.curate.records import CurationPlan
from tasks.runtime.sources import local_source


def latest(plan: CurationPlan, store: Store) -> DatasetVersion | None:
    """The version that the new pairs are added to; None: there is none, or the recipe does not ask for it."""
    if not plan.curation.grows:
        return None
    try:
        return find(store, parse(plan.name))
    except ObjectMissing:
        return None


def grown(version: DatasetVersion | None, pairs: Sequence[Pair]) -> list[Pair]:
    """The version's pairs, then those that it does not hold."""
    if version is None:
        return list(pairs)
    rows = stream_rows(local_source(version.ref, load_settings().home))
    held = [row for row in rows if isinstance(row, Pair)]
    known = {pair.id for pair in held}
    return held + [pair for pair in pairs if pair.id not in known]

"""A data set that grows: what its latest version holds, and the new pairs behind it."""

from collections.abc import Sequence

from dpo_core.data.pairs import Pair
from infra.datasets.manifest import DatasetVersion
from infra.datasets.names import parse
from infra.datasets.shelf import find
from infra.errors import ObjectMissing
from infra.store.base import Store
from tasks.curate.records import CurationPlan
from tasks.runtime.datasets import rows_left


def latest(plan: CurationPlan, store: Store) -> DatasetVersion | None:
    """The version that the new pairs are added to; None: there is none, or the recipe does not ask for it."""
    if not plan.curation.grows:
        return None
    try:
        return find(store, parse(plan.name))
    except ObjectMissing:
        return None


def grown(version: DatasetVersion | None, pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """What is left of the version, and those of the pairs that are not in it."""
    held = [pair for pair in rows_left(version) if pair is not None] if version is not None else []
    known = {pair.id for pair in held}
    return held, [pair for pair in pairs if pair.id not in known]

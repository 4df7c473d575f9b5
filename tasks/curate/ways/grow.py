"""A data set that a curation goes on with: whether it may, what its latest version holds, the new pairs behind it."""

from collections.abc import Sequence
from dataclasses import replace

from dpo_core.curate.curation import WAYS, Curation
from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from infra.datasets.manifest import DatasetVersion
from infra.datasets.names import parse
from infra.datasets.shelf import find, records
from infra.store.base import Store
from tasks.curate.records import CurationPlan
from tasks.runtime.datasets import rows_left

CURATE = "curate"  # how a version was made


def require_own(curation: Curation, store: Store) -> None:
    """Raise InputError where the name is that of another data set, whose latest version this one would displace.

    A growing one is gone on with, however it was made; raises ObjectMissing where none of it is left.
    """
    known = records(store, curation.name)
    if not known:
        return
    if curation.grows:
        find(store, parse(curation.name))
        return
    last = known[-1]
    how, told = last.made_by.how, last.notes.partition(";")[0]  # where the way had no field of its own
    way = last.made_by.way or (told if told in WAYS else "")
    if how == CURATE and way in ("", curation.way):
        return
    made = f"by a curation by {way}" if how == CURATE else f"by `dpo data {how}`" if how else "by hand"
    raise InputError(
        f"a data set of this name is there: {last.ref} was made {made}. Runs that train on its latest version would "
        f"get pairs by {curation.way} instead",
        where=f"name: {curation.name}",
        do="take another name; or set grow: true, so that a new version holds its pairs and the new ones",
    )


def latest(plan: CurationPlan, store: Store) -> DatasetVersion | None:
    """The version that the new pairs are added to; None: there is none, or the recipe does not ask for it."""
    if not plan.curation.grows or not records(store, plan.name):
        return None
    return find(store, parse(plan.name))


def grown(version: DatasetVersion | None, pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """What is left of the version, and those of the pairs that are not in it; as messages where the version is."""
    held = [pair for pair in rows_left(version) if pair is not None] if version is not None else []
    if held and not held[0].plain:
        pairs = [replace(pair, plain=False) for pair in pairs]
    known = {pair.id for pair in held}
    return held, [pair for pair in pairs if pair.id not in known]

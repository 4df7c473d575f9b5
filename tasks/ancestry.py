"""The versions that a model descends from, and the rows that they were trained on."""

import json
import logging
from collections.abc import Iterable, Iterator

from infra.errors import ObjectMissing
from infra.registry import versions
from infra.registry.versions import Version
from infra.store.base import Store
from tasks.lineage import KEY, LineageRecord
from tasks.runtime.start import START

log = logging.getLogger("dpo.plan")


def line_of(version: Version) -> Iterator[Version]:
    """The version, the one that it started from, and so on; a version that was deleted since ends the line."""
    seen: set[str] = set()
    while version.weights_sha256 not in seen:
        seen.add(version.weights_sha256)
        yield version
        start = version.tags.get(START, "")
        if not start.startswith("models:/"):
            return
        try:
            version = versions.resolve(start)
        except ObjectMissing:
            log.warning("ancestor_gone of=%d start_model=%s", version.number, start)
            return


def training_rows(store: Store, lines: Iterable[Version]) -> list[str]:
    """Keys in the store of the rows that these versions and all that they descend from were trained on."""
    every = {version.weights_sha256: version for newest in lines for version in line_of(newest)}
    keys = [version.tags[KEY] for version in every.values() if KEY in version.tags]
    records = (LineageRecord.model_validate_json(store.get_bytes(key)) for key in keys)
    return sorted({rows for record in records for rows in record.data.trained_on})


def trained_ids(store: Store, keys: Iterable[str]) -> set[str]:
    """Ids of the pairs at these keys."""
    return {json.loads(line)["id"] for key in keys for line in store.get_bytes(key).splitlines()}

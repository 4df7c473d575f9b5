"""Where pairs come from: paths, data sets of the hub; S3's objects and data sets of the store, brought here first."""

from pathlib import Path

from dpo_core.data.sources import digest_source
from tasks.runtime.datasets import dataset_digest, is_dataset, local_dataset


def local_source(source: str, home: Path) -> str:
    """What the readers can open: S3's objects and the store's data sets as files under `home`/downloads, else `source`.

    Raises InfraError for what is not there.
    """
    if is_dataset(source):
        return str(local_dataset(source, home))
    if not source.startswith("s3://"):
        return source
    from infra.store.downloads import fetch_objects, find_objects

    return str(fetch_objects(find_objects(source), home / "downloads" / "s3"))


def version_of_source(source: str) -> str:
    """A digest that changes when the data does: of files' bytes, of S3's ETags, or the hub's commit.

    Of a data set of the store: of its rows, and of which of them were forgotten. Raises InputError or InfraError for
    what is not there.
    """
    if is_dataset(source):
        return dataset_digest(source)
    if source.startswith("s3://"):
        from infra.store.downloads import find_objects, version_of

        return version_of(find_objects(source))
    return digest_source(source)

"""Where pairs come from: paths, data sets of the hub, and addresses of S3, which are brought here first."""

from pathlib import Path

from dpo_core.data.sources import digest_source


def local_source(source: str, home: Path) -> str:
    """What the readers can open: S3's objects as files under `home`/downloads, anything else as it is."""
    if not source.startswith("s3://"):
        return source
    from infra.store.downloads import fetch_objects, find_objects

    return str(fetch_objects(find_objects(source), home / "downloads" / "s3"))


def version_of_source(source: str) -> str:
    """A digest that changes when the data does: of files' bytes, of S3's ETags, or the hub's commit.

    Raises InputError or InfraError for what is not there.
    """
    if source.startswith("s3://"):
        from infra.store.downloads import find_objects, version_of

        return version_of(find_objects(source))
    return digest_source(source)

"""The object store: one interface (`base`), two homes (`folder`, `s3`).

`s3_client` and `s3_upload` are parts of the S3 store, `retry` waits for a store that is away, `downloads` fetches
objects of any bucket.
"""

from pathlib import Path

from infra.settings import Settings
from infra.store.base import Store


def open_store(settings: Settings, *, patient: bool = False) -> Store:
    """The store that `settings.store_url` names; a `patient` one waits a while for a server that is away."""
    if settings.store_url.startswith("s3://"):
        from infra.store.retry import PatientStore
        from infra.store.s3 import S3Store

        store = S3Store(settings.store_url)
        return PatientStore(store, settings.patience_s) if patient else store
    from infra.store.folder import FolderStore

    return FolderStore(Path(settings.store_url))

"""Is a store really create-only? Servers that speak S3 exist which take `If-None-Match` and do not heed it."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from infra.errors import InfraError
from infra.store.base import Store

WRITERS = 8
_asked: set[str] = set()  # stores that have passed, in this process


def require_create_only(store: Store) -> None:
    """Several create-only writes of one key at once, and one after: exactly one may win. Raises InfraError."""
    if store.url in _asked:
        return
    key = f"probe/{uuid.uuid4().hex}"

    def wins(writer: int) -> bool:
        return store.put_bytes(key, f"writer {writer}".encode(), create_only=True)

    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            winners = sum(pool.map(wins, range(WRITERS)))
        winners += wins(WRITERS)
    finally:
        store.delete(key)
    if winners != 1:
        seen = f"{winners} of {WRITERS + 1} writers of one new key were told that theirs is there"
        says = f"the store does not heed create-only writes: {seen}. Two promotions at once could both succeed"
        do = "use a store that heeds If-None-Match on PUT (AWS S3, SeaweedFS, MinIO, a folder): DPO_STORE_URL"
        raise InfraError(says, where=store.url, do=do)
    _asked.add(store.url)

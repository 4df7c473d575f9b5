"""Objects of the store that are named by their bytes: compared when they are read, removed if damaged."""

from hashlib import sha256
from pathlib import PurePosixPath

from infra.errors import Damaged, ObjectMissing
from infra.store.base import Store


def put_by_content(store: Store, folder: str, data: bytes, suffix: str) -> str:
    """Store bytes as `folder`/SHA-256`suffix`; the key."""
    key = f"{folder}/{sha256(data).hexdigest()}{suffix}"
    store.put_bytes(key, data)
    return key


def sound_bytes(store: Store, key: str) -> tuple[bytes | None, bool]:
    """What its name says it holds, or None where it is gone; and whether it was damaged: then it has been removed."""
    try:
        data = store.get_bytes(key)
        if sha256(data).hexdigest() == PurePosixPath(key).stem:
            return data, False
    except ObjectMissing:  # removed since
        return None, False
    except Damaged:
        pass
    store.delete(key)
    return None, True

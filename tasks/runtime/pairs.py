"""The rows that the check kept, from the store, and their token ids."""

import json

from dpo_core.data.pairs import EncodedPair, Pair, with_ids
from infra.store.base import Store


def stored_pairs(store: Store, key: str) -> list[Pair]:
    """Rows as they were normalised."""
    return [Pair.from_row(json.loads(line)) for line in store.get_bytes(key).splitlines()]


def encoded_pairs(store: Store, key: str, ids_key: str) -> list[EncodedPair]:
    """The same with the token ids that the check made of them."""
    return with_ids(stored_pairs(store, key), store.get_bytes(ids_key).splitlines())

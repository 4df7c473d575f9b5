"""Normalised pairs from the store, and their ids."""

import json
from pathlib import Path

from dpo_core.data.pairs import EncodedPair, Pair
from infra.store.base import Store
from tasks.plan import Plan


def stored_pairs(store: Store, key: str) -> list[Pair]:
    """The rows that the check kept."""
    return [Pair.from_row(json.loads(line)) for line in store.get_bytes(key).decode().splitlines()]


def encoded_pairs(store: Store, plan: Plan, key: str) -> list[EncodedPair]:
    """The same as token ids; the check has set aside every row that cannot be encoded."""
    from dpo_core.model.encode import encode_pairs, load_tokenizer

    tokenizer = load_tokenizer(Path(plan.model_folder), trusted_code=plan.trusted_code)
    return encode_pairs(stored_pairs(store, key), tokenizer, plan.recipe.encoding).encoded

"""Which prompts are held out, for good: a record in the store that every check of a model's data goes by.

`splits/NAME/` is a chain of entries, one a data set that brought new prompts; each names the object that holds them.
"""

import hashlib
import io
import logging
from collections.abc import Sequence

import numpy as np

from dpo_core.data.splits import SplitSides
from infra.errors import Damaged
from infra.ledger.chain import Chain
from infra.store.base import Store

log = logging.getLogger("dpo.check")
WHAT = "the record of which prompts are held out"


def recorded_sides(store: Store, names: Sequence[str]) -> tuple[SplitSides, int]:
    """What is recorded of these models' prompts, and the last entry's number of the first of them.

    Raises Damaged where the record was changed.
    """
    known, last = SplitSides.none(), 0
    for name in names:
        entries = Chain(store, f"splits/{name}").entries()
        for entry in entries:
            known = known.with_more(read_sides(store, str(entry.body["sides"]), WHAT))
        if name == names[0]:
            last = len(entries)
    return known, last


def record_head(store: Store, name: str) -> str:
    """Digest of the last entry, which stands for all that is recorded of this model's prompts; empty for nothing."""
    return next((entry.sha256 for entry in reversed(Chain(store, f"splits/{name}").entries())), "")


def record_sides(store: Store, name: str, new: SplitSides, *, base: int, data_sha256: str) -> None:
    """Append what is new, if anything is. Raises Moved if another run has recorded something since entry `base`."""
    if not len(new):
        return
    key = put_sides(store, "held_out", name, new)
    held_out = int(new.held_out.sum())
    counts = {"held_out": held_out, "trained_on": len(new) - held_out}
    Chain(store, f"splits/{name}").append({"data_sha256": data_sha256, "sides": key, **counts}, base=base)
    log.info("split_recorded name=%s new_prompts=%d held_out=%d", name, len(new), held_out)


def put_sides(store: Store, folder: str, name: str, sides: SplitSides) -> str:
    """Store the sides of some prompts of a model; the key, which names them by their content."""
    file = io.BytesIO()
    np.save(file, np.stack([sides.keys, sides.held_out.astype(np.int64)]), allow_pickle=False)
    key = f"{folder}/{name}/{hashlib.sha256(file.getvalue()).hexdigest()}.npy"
    store.put_bytes(key, file.getvalue())
    return key


def read_sides(store: Store, key: str, what: str) -> SplitSides:
    """What `put_sides` stored. Raises Damaged, by the name of `what` it is, where that was changed."""
    data = store.get_bytes(key)
    if hashlib.sha256(data).hexdigest() != key.rpartition("/")[2].removesuffix(".npy"):
        raise Damaged(
            f"{what} was changed",
            where=f"{store.url}/{key}",
            do="put the object back from a copy of the store: without it, prompts would change sides",
        )
    keys, held_out = np.load(io.BytesIO(data), allow_pickle=False)
    return SplitSides(keys, held_out.astype(np.bool_))

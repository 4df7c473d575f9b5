"""The tuning split: cut from the training prompts, by groups of nearly equal ones. Held-out pairs stay unread."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import digest_pairs, lines_of
from infra.settings import load_settings
from infra.store import open_store
from tasks.records import Checked, Plan
from tasks.runtime.aside import set_aside
from tasks.runtime.pairs import stored_pairs
from tasks.tune.records import TuningSplit

log = logging.getLogger("dpo.tune")


@task(name="cut", cache_policy=NO_CACHE)
def cut(plan: Plan, checked: Checked) -> TuningSplit:
    """Set a share of the training prompts aside; the same prompts always go the same way."""
    store, share = open_store(load_settings(), patient=True), plan.recipe.tune.share
    pairs, ids = stored_pairs(store, checked.train_key), store.get_bytes(checked.train_ids_key).splitlines()
    *sides, asked = set_aside(pairs, share, lot="tune", key="tune.share")
    rows = [[pairs[n] for n in side] for side in sides]
    data_sha256 = digest_pairs(*rows)
    ids_sha256 = digest_json([checked.ids_sha256, data_sha256])
    keys = {}
    for part, side, taken in zip(("train", "eval"), sides, rows, strict=True):
        keys[f"{part}_key"] = f"data/{data_sha256}/{part}.jsonl"
        keys[f"{part}_ids_key"] = f"data/{data_sha256}/{ids_sha256[:16]}/{part}.ids.jsonl"
        store.put_bytes(keys[f"{part}_key"], lines_of(taken)[0])
        store.put_bytes(keys[f"{part}_ids_key"], b"".join(ids[n] + b"\n" for n in side))
    log.info("tuning_split trained_on=%d judged_on=%d prompts=%d", len(rows[0]), len(rows[1]), asked)
    changed = {**keys, "data_sha256": data_sha256, "ids_sha256": ids_sha256, "shortcuts": []}
    return TuningSplit(
        rows=checked.model_copy(update=changed), trained_on=len(rows[0]), judged_on=len(rows[1]), prompts=asked
    )

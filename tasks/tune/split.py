"""The tuning split: cut from the training prompts, by groups of nearly equal ones. Held-out pairs stay unread."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import digest_pairs, lines_of
from dpo_core.data.splits import SplitSides, held_out_rows
from dpo_core.errors import InputError
from dpo_core.quality.prompts.groups import group_prompts, sketches
from dpo_core.quality.prompts.identity import digests, split_key
from infra.settings import load_settings
from infra.store import open_store
from tasks.records import Checked, Plan
from tasks.runtime.pairs import stored_pairs
from tasks.tune.records import TuningSplit

log = logging.getLogger("dpo.tune")
SALT = "tune\n"  # another lot than that of the held-out pairs: what is left of those has the high places
FEWEST = 8  # questions


@task(name="cut", cache_policy=NO_CACHE)
def cut(plan: Plan, checked: Checked) -> TuningSplit:
    """Set a share of the training prompts aside; the same prompts always go the same way."""
    store, share = open_store(load_settings(), patient=True), plan.recipe.tune.share
    pairs, ids = stored_pairs(store, checked.train_key), store.get_bytes(checked.train_ids_key).splitlines()
    prompts = [pair.prompt for pair in pairs]
    groups = group_prompts(digests(split_key(prompt) for prompt in prompts), sketches(prompts)).first
    salted = digests(SALT + split_key(prompt) for prompt in prompts)
    aside = held_out_rows(salted, groups, SplitSides.none(), share)
    sides = [[n for n, judges in enumerate(aside) if bool(judges) is wanted] for wanted in (False, True)]
    asked = len({int(groups[n]) for n in sides[1]})
    if asked < FEWEST:
        raise InputError(
            f"the tuning split has {asked} different questions of {len(pairs)} pairs: too few to tell settings apart",
            where=f"tune.share: {share:g}",
            do=f"set tune.share higher (0.5 at most), or add pairs: {FEWEST} questions are needed, 50 tell something",
        )
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

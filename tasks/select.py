"""Which of the checked pairs a run trains on: all of them, or those that the champion it starts from has not seen."""

import json
import logging
import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import digest_pairs
from dpo_core.evaluate.unseen import unseen_items
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from tasks.ancestry import trained_ids, training_rows
from tasks.power import detectable
from tasks.records import Checked, Plan
from tasks.runtime.pairs import stored_pairs

log = logging.getLogger("dpo.select")


@task(name="select", cache_policy=NO_CACHE)
def select(plan: Plan, checked: Checked) -> Checked:
    """The check's rows with those to train on: what is new to the champion, and `retrain.replay` of the other ones.

    They are in the order of their ids: the same rows in another order are the same training. A run that starts from
    the base model trains on all rows, as they come.
    """
    _tell_power(plan, checked)
    if plan.recipe.retrain.start == "base" or not plan.start_model.startswith("models:/"):
        return checked
    start, store = time.monotonic(), open_store(load_settings(), patient=True)
    seen = trained_ids(store, training_rows(store, [versions.resolve(plan.start_model)]))
    rows, ids = (store.get_bytes(key).splitlines() for key in (checked.train_key, checked.train_ids_key))
    names = [str(json.loads(row)["id"]) for row in rows]
    new = {name for name in names if name not in seen}
    log.info("selected start_model=%s rows=%d new=%d", plan.start_model, len(rows), len(new))
    if not new:
        return checked.model_copy(update={"new": 0})
    again = _drawn([name for name in names if name in seen], plan.recipe.retrain.replay, plan.recipe.seed)
    taken = sorted((n for n, name in enumerate(names) if name in new or name in again), key=names.__getitem__)
    train, train_ids = (b"".join(lines[number] + b"\n" for number in taken) for lines in (rows, ids))
    pairs = stored_pairs(store, checked.train_key)
    data_sha256 = digest_pairs([pairs[number] for number in taken], stored_pairs(store, checked.eval_key))
    ids_sha256 = digest_json([checked.ids_sha256, data_sha256])
    train_key = f"data/{data_sha256}/train.jsonl"
    train_ids_key = f"data/{data_sha256}/{ids_sha256[:16]}/train.ids.jsonl"
    for key, lines in ((train_key, train), (train_ids_key, train_ids)):
        store.put_bytes(key, lines)
    log.info("replayed rows=%d of=%d seconds=%.1f", len(again), len(rows) - len(new), time.monotonic() - start)
    return checked.model_copy(
        update={
            "data_sha256": data_sha256,
            "train_key": train_key,
            "train_ids_key": train_ids_key,
            "ids_sha256": ids_sha256,
            "new": len(new),
        }
    )


def _tell_power(plan: Plan, checked: Checked) -> None:
    """What the gate will be able to tell, while nothing has been trained yet."""
    store = open_store(load_settings(), patient=True)
    asked = [pair.prompt for pair in stored_pairs(store, checked.eval_key)]
    for condition in detectable(plan.recipe, len(set(unseen_items(asked, []).clusters))):
        facts = (condition.metric, condition.prompts, condition.effect)
        log.info("gate_power rule=%s metric=%s prompts=%d detectable=%.3g", condition.rule, *facts)


def _drawn(names: list[str], share: float, seed: int) -> set[str]:
    """That share of the pairs, by lot: of the same pairs always the same, and other ones with another seed."""
    by_lot = sorted(set(names), key=lambda name: digest_json([seed, name]))
    return set(by_lot[: round(share * len(by_lot))])

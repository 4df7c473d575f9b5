"""Which of the checked pairs a run trains on: all of them, or those that the champion it starts from has not seen."""

import json
import logging
import time
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import digest_pairs, lines_of
from dpo_core.model.folder.trial import chat_templates
from infra.registry import versions
from infra.settings import load_settings
from infra.store import open_store
from tasks.ancestry import trained_ids, training_rows
from tasks.evaluation.measurable import require_measurable
from tasks.power import detectable
from tasks.records import Checked, Plan
from tasks.runtime.aside import set_aside
from tasks.runtime.pairs import stored_pairs

log = logging.getLogger("dpo.select")


@task(name="select", cache_policy=NO_CACHE)
def select(plan: Plan, checked: Checked) -> Checked:
    """The check's rows with those to train on: what is new to the champion, and `retrain.replay` of the other ones.

    They are in the order of their ids: the same rows in another order are the same training. A run that starts from
    the base model trains on all rows, as they come. Raises InputError where too few could be set aside for
    `training.early_stopping`.
    """
    store = open_store(load_settings(), patient=True)
    require_measurable(store, plan, checked)
    _tell_power(plan, checked)
    selected = _selected(plan, checked)
    if (wanted := plan.recipe.training.early_stopping) is None or selected.new == 0:
        return selected
    pairs = stored_pairs(store, selected.train_key)
    aside = set_aside(pairs, wanted.share, lot="early stopping", key="training.early_stopping.share")[1]
    key = f"data/{selected.data_sha256}/aside-{digest_json(aside)[:16]}.json"
    store.put_bytes(key, json.dumps(aside).encode())
    return selected.model_copy(update={"aside_key": key})


def _selected(plan: Plan, checked: Checked) -> Checked:
    if plan.recipe.retrain.start == "base" or not plan.start_model.startswith("models:/"):
        return checked
    start, store = time.monotonic(), open_store(load_settings(), patient=True)
    seen = trained_ids(store, training_rows(store, [versions.resolve(plan.start_model)]))
    pairs, ids = stored_pairs(store, checked.train_key), store.get_bytes(checked.train_ids_key).splitlines()
    new = {pair.id for pair in pairs if pair.id not in seen}
    log.info("selected start_model=%s rows=%d new=%d", plan.start_model, len(pairs), len(new))
    if not new:
        return checked if plan.online is not None else checked.model_copy(update={"new": 0})
    again = _drawn({pair.id for pair in pairs} - new, plan.recipe.retrain.replay, plan.recipe.seed)
    places = sorted((n for n, pair in enumerate(pairs) if pair.id in new | again), key=lambda n: pairs[n].id)
    taken = [pairs[place] for place in places]
    data_sha256 = digest_pairs(taken, stored_pairs(store, checked.eval_key))
    ids_sha256 = digest_json([checked.ids_sha256, data_sha256])
    train_key = f"data/{data_sha256}/train.jsonl"
    train_ids_key = f"data/{data_sha256}/{ids_sha256[:16]}/train.ids.jsonl"
    store.put_bytes(train_key, lines_of(taken)[0])
    store.put_bytes(train_ids_key, b"".join(ids[place] + b"\n" for place in places))
    log.info("replayed rows=%d of=%d seconds=%.1f", len(again), len(pairs) - len(new), time.monotonic() - start)
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
    benchmarks = {name: task.prompts for name, task in plan.lm_eval.items()}
    talks = any(chat_templates(Path(plan.model_folder)))
    for condition in detectable(plan.recipe, checked.held_out_prompts, benchmarks, answers=talks):
        facts = (condition.metric, condition.prompts, condition.effect)
        log.info("gate_power rule=%s metric=%s prompts=%d detectable=%.3g", condition.rule, *facts)


def _drawn(names: set[str], share: float, seed: int) -> set[str]:
    """That share of the pairs, by lot: of the same pairs always the same, and other ones with another seed."""
    by_lot = sorted(names, key=lambda name: digest_json([seed, name]))
    return set(by_lot[: round(share * len(by_lot))])

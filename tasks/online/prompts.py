"""The prompts that a model in training may be asked: none that is held out, in this run or by the record of any other.

Whoever is asked them has learnt from them: they are on record as trained on before the first is asked.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dpo_core.curate.prompt_set import KeptOut, PromptDraw, gather, record_keys
from dpo_core.curate.prompts import PromptItem, read_items
from dpo_core.data.splits import SplitSides
from dpo_core.errors import InputError
from dpo_core.quality.postings import PromptIndex
from dpo_core.quality.prompts.index import HELD_OUT, index_prompts
from dpo_core.recipe import Training
from infra.ledger.chain import again_if_moved
from infra.settings import load_settings
from infra.store.base import Store
from tasks.check import models_of
from tasks.curate.kept_out import named_indexes, suite_indexes
from tasks.data_check.sides import record_sides, recorded_sides
from tasks.records import Checked, Plan
from tasks.runtime.pairs import stored_pairs
from tasks.runtime.sources import local_source

log = logging.getLogger("dpo.online")
UNREADABLE = "the row is no prompt"


def online_prompts(store: Store, plan: Plan, checked: Checked) -> tuple[list[PromptItem], dict[str, int]]:
    """The prompts, and those left out by reason. Raises InputError where none is left, or fewer than the steps need."""
    assert plan.online is not None, "the run answers prompts"
    curation, training = plan.online.curation, plan.recipe.training
    prompts, home = curation.prompts, load_settings().home
    assert prompts is not None, "its plan has looked"
    read = [(source, read_items(local_source(source.path, home), source.name)) for source in prompts.sources]
    draw = PromptDraw(count=prompts.count, near=prompts.near, seed=curation.seed)
    known, _ = recorded_sides(store, models_of(plan))
    out = KeptOut(_kept_out(store, plan, checked), known)
    found = gather([(source, given.items) for source, given in read], draw, out)
    items = list(found.items)
    left_out = Counter(found.reasons) + Counter({UNREADABLE: sum(len(given.quarantined) for _, given in read)})
    _require_enough(items, training, left_out, plan)
    log.info("online_prompts prompts=%d left_out=%d", len(items), sum(left_out.values()))
    return items, dict(left_out)


def record_asked(store: Store, name: str, items: Sequence[PromptItem], *, data_sha256: str) -> None:
    """Put the prompts on record as trained on, for good: no later run of the model holds one out."""

    @again_if_moved
    def record() -> None:
        known, last = recorded_sides(store, [name])
        keys = record_keys(items)
        asked = SplitSides.of(keys, np.zeros(len(keys), np.bool_))
        record_sides(store, name, known.with_more(asked).without(known), base=last, data_sha256=data_sha256)

    record()


def drawings(training: Training, prompts: int) -> int:
    """How many times prompts are asked for in all."""
    online = training.online
    assert online is not None, "the run answers prompts"
    if training.max_steps:
        return math.ceil(training.max_steps / online.every)
    return max(1, math.floor(prompts * online.passes / min(online.drawing(training.train_batch_size), prompts) + 1e-9))


def _kept_out(store: Store, plan: Plan, checked: Checked) -> list[PromptIndex]:
    """What is asked afterwards: held-out pairs, suites, and what the curation keeps out."""
    assert plan.online is not None
    prompts = plan.online.curation.prompts
    held_out = index_prompts(HELD_OUT, (pair.prompt for pair in stored_pairs(store, checked.eval_key)))
    named = named_indexes(prompts.keep_out) if prompts is not None else []
    return [*([held_out] if len(held_out) else []), *suite_indexes(plan.recipe.evaluation.suites), *named]


def _require_enough(items: Sequence[PromptItem], training: Training, left_out: Counter[str], plan: Plan) -> None:
    online = training.online
    assert online is not None
    assert plan.online is not None
    told = "; ".join(f"{count}: {reason}" for reason, count in left_out.most_common()) or "no source has more"
    where = f"training.online, prompts of {plan.online.curation.name}"
    if not items:
        raise InputError(f"no prompt is left to ask ({told})", where=where, do="add prompts that are not held out")
    size, room = min(online.drawing(training.train_batch_size), len(items)), len(items) * online.passes
    wanted = drawings(training, len(items)) * size
    if wanted > room + 1e-9:
        says = f"{training.max_steps} steps ask {wanted} prompts, and {len(items)} in {online.passes:g} passes are "
        says += f"{math.floor(room)} ({told})"
        do = "add prompts, raise training.online.passes, or lower training.max_steps or training.online.prompts"
        raise InputError(says, where=where, do=do)

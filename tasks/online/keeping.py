"""What stays of a run that learned from its own answers: prompts on record, pairs and their log-probs in the store."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from dpo_core.curate.prompts import PromptItem
from dpo_core.data.pairs import Pair, lines_of
from infra.store.base import Store
from infra.tracking.runs import attach_run
from tasks.curate.prompts import lines_of_prompts
from tasks.curate.ways.judges import admitted
from tasks.curate.ways.scoring import RewardScorer
from tasks.online.batches import FILE
from tasks.online.drawing import FreshPair
from tasks.online.opening import PROMPTS
from tasks.online.plan import as_curation
from tasks.online.prompts import record_asked
from tasks.records import Checked, OnlineOutput, Plan
from tasks.reference.store import ReferenceStore

SHARD = 256  # responses


def write_prompts(
    folder: Path,
    store: Store,
    plan: Plan,
    checked: Checked,
    items: Sequence[PromptItem],
    left_out: Mapping[str, int],
) -> None:
    """The prompts for the training process, once the reward is known to be usable and they are on record."""
    assert plan.online is not None, "the run answers prompts"
    curation = as_curation(plan.online, run_id=plan.run_id)
    admitted(curation.curation.rewards, RewardScorer(curation, store).ask)
    record_asked(store, plan.recipe.name, items, data_sha256=checked.data_sha256)
    (folder / PROMPTS).write_bytes(lines_of_prompts(items))
    attach_run(plan.run_id).json("online_prompts.json", {"prompts": len(items), "left_out": dict(left_out)})


def keep_learnt(store: Store, folder: Path, output: OnlineOutput, path: Mapping[str, str | int]) -> OnlineOutput:
    """Store the pairs as a data check keeps its own, and their reference log-probs as the reference pass does."""
    pairs = [FreshPair.model_validate(json.loads(line)) for line in (folder / FILE).read_bytes().splitlines()]
    rows = lines_of([Pair.from_row(pair.row) for pair in pairs])[0]
    key = f"data/{sha256(rows).hexdigest()}/online.jsonl"
    store.put_bytes(key, rows)
    return output.model_copy(update={"rows": key, "shards": _scored(store, pairs, path)})


def _scored(store: Store, pairs: Sequence[FreshPair], path: Mapping[str, str | int]) -> list[str]:
    import torch

    values = {
        (pair.prompt_ids, answer): torch.tensor(known, dtype=torch.float32)
        for pair in pairs
        if pair.reference is not None
        for answer, known in zip((pair.chosen_ids, pair.rejected_ids), pair.reference, strict=True)
    }
    reference, responses = ReferenceStore(store, path), list(values)
    keys = reference.keys(responses)
    shards = [
        reference.append({keys[i]: values[responses[i]] for i in range(first, min(first + SHARD, len(keys)))})
        for first in range(0, len(keys), SHARD)
    ]
    if shards:
        reference.publish()
    return sorted(shards)

"""What a training process opens to learn from its own answers: prompts, reward, reference, and the drawings so far."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from dpo_core.data.pairs import Example
from dpo_core.errors import InputError
from dpo_core.model.encode import load_tokenizer
from dpo_core.model.logprobs import Scorer
from infra.settings import load_settings
from infra.store import open_store
from tasks.curate.prompts import prompts_of
from tasks.curate.ways.scoring import RewardScorer
from tasks.online.batches import FILE, OnlineBatches, read_drawings
from tasks.online.learner import Learner, frozen_reference
from tasks.online.plan import as_curation
from tasks.records import WorkOrder

PROMPTS = "prompts.jsonl"  # beside the order


@contextlib.contextmanager
def online_batches(
    order: WorkOrder,
    folder: Path,
    policy: torch.nn.Module,
    scorer: Scorer,
    attention: str,
    offline: Sequence[Example],
    checkpoint: Path | None,
) -> Iterator[OnlineBatches]:
    """Inside, the model's answers become batches; `attention`: how it attended before `scorer` was made of it."""
    online = order.online
    assert online is not None, "the run answers prompts"
    tokenizer = load_tokenizer(order.model_folder, trusted_code=order.trusted_code)
    reward = RewardScorer(as_curation(online.plan, run_id=order.run_id), open_store(load_settings(), patient=True))
    before = read_drawings(checkpoint / FILE) if checkpoint is not None else []
    items = prompts_of((folder / PROMPTS).read_bytes())
    with frozen_reference(order, online, next(policy.parameters()).device) as frozen:
        learner = Learner(policy, scorer, attention, tokenizer, order)
        yield OnlineBatches(order, items, offline, learner, reward, frozen, before)


def require_one_process(accelerator: Accelerator) -> None:
    """Raise InputError under several: the processes would each need the whole model to answer with."""
    if accelerator.num_processes > 1:
        raise InputError(
            f"training.online runs in one process, and here are {accelerator.num_processes}",
            where="DPO_ACCELERATE_CONFIG",
            do="unset it for this run; or curate in rounds, whose trainings take any number (docs/curation.md)",
        )

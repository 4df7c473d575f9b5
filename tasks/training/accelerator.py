"""accelerate as its configuration has it, without what would make other weights of the same recipe."""

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs, InitProcessGroupKwargs

from dpo_core.errors import InputError
from tasks.records import WorkOrder

CONFIG = "DPO_ACCELERATE_CONFIG"
PATIENCE = timedelta(hours=2)  # of ranks for the one that writes and uploads a checkpoint; NCCL's own is 10 minutes


def accelerator_of(order: WorkOrder) -> Accelerator:
    """Raises InputError for a configuration with which other weights would come of it."""
    accelerator = Accelerator(
        mixed_precision="bf16" if order.training.dtype == "bfloat16" else "no",
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if accelerator.gradient_accumulation_steps != 1:
        says = f"accelerate is to accumulate {accelerator.gradient_accumulation_steps} gradients: other weights"
        do = "take gradient_accumulation_steps out of that file; training.train_batch_size is the whole step"
        raise InputError(says, where=CONFIG, do=do)
    if accelerator.is_fsdp2:
        spread_as_whole(accelerator)
    if order.online is not None:  # what only such a run needs is imported there: curation, Prefect, 1,065 modules
        from tasks.online.opening import require_one_process

        require_one_process(accelerator)
    return accelerator


def spread_as_whole(accelerator: Accelerator) -> None:
    """Have spread weights computed with as those of one process: in bf16 by autocast alone, which `train` turns on.

    accelerate would round gradients and log-probs to bf16, too. Raises InputError for what unties tied weights.
    """
    plugin = accelerator.state.fsdp_plugin
    if plugin.cpu_ram_efficient_loading:
        says = "fsdp_cpu_ram_efficient_loading would untie embeddings that are tied: other weights"
        raise InputError(says, where=CONFIG, do="set it to false under fsdp_config of that file")
    plugin.mixed_precision_policy = None
    accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)  # else it keeps a bf16 copy of every layer

"""Trains the tiny model as one rank, as torchrun would start it: FOLDER (ddp | fsdp)[-bfloat16] [STOP_AFTER].

Goes on from FOLDER/checkpoints if there are any; leaves FOLDER/out with the weights and the history of this start.
"""

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from dpo_core.data.pairs import read_examples
from dpo_core.model.load import load_model
from dpo_core.model.modes import scoring
from dpo_core.recipe import Training
from dpo_core.train.batches import Fixed
from dpo_core.train.checkpoint import load_checkpoint, newest_valid, save_checkpoint
from dpo_core.train.early_stopping import measure
from dpo_core.train.loop import train
from dpo_core.train.policy import make_optimizer, make_policy, save_policy
from tasks.training.accelerator import spread_as_whole


def main(folder: Path, kind: str, stop_after: int) -> None:
    torch.set_num_threads(1)
    kind, _, dtype = kind.partition("-")
    # batches of 5 over 2 ranks, the last of an epoch 2: ranks have unequal shares
    training = Training(
        learning_rate=1e-3,
        num_train_epochs=2,
        train_batch_size=5,
        sft_weight=0.5,
        tokens_per_row=60,
        dtype=dtype or "float32",
    )
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if dtype else "no")
    if kind == "fsdp":
        as_on_gpus(accelerator)
    policy = make_policy(load_model(folder / "model"), training, seed=0)
    examples = read_examples(folder / "examples.jsonl")
    main_rank, history = accelerator.is_main_process, []
    with scoring(policy) as scorer:
        optimizer = make_optimizer(policy, training)
        model, prepared = accelerator.prepare(scorer, optimizer)
        start = 0
        if (found := newest_valid(folder / "checkpoints")) is not None:
            start = load_checkpoint(found, policy, optimizer)["step"]
        options = {"method": scorer.method, "accelerator": accelerator, "start": start}
        for step in train(model, prepared, Fixed(examples, training, seed=0), training, **options):
            history.append(step.metrics)
            if step.number == 2:  # whatever it gathers, training goes on as if it had not been
                history[-1] |= measure(model, examples, training, accelerator, method=scorer.method)
            if step.number == stop_after:
                save_checkpoint(folder / "checkpoints", step.number, policy, optimizer, {}, write=main_rank)
                leave(accelerator)
                return
    sharded = all(isinstance(p, DTensor) for p in policy.parameters())
    units = sum(isinstance(module, FSDPModule) for module in model.modules())
    save_policy(policy, folder / "model", folder / "out", write=main_rank)
    if main_rank:
        record = {"ranks": accelerator.num_processes, "sharded": sharded, "units": units, "history": history}
        (folder / "out" / "history.json").write_text(json.dumps(record))
    leave(accelerator)


def as_on_gpus(accelerator: Accelerator) -> None:
    """What infra/accelerate/fsdp2.yaml makes of it there; on CPUs accelerate has data parallel only."""
    state = accelerator.state
    state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="TRANSFORMER_BASED_WRAP",
        reshard_after_forward=True,
        state_dict_type="FULL_STATE_DICT",
    )
    if accelerator.mixed_precision != "no":
        state.fsdp_plugin.set_mixed_precision(accelerator.mixed_precision)
    spread_as_whole(accelerator)


def leave(accelerator: Accelerator) -> None:
    """Together, and at once: gloo's threads abort or hang now and then while an interpreter shuts down."""
    accelerator.wait_for_everyone()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0)

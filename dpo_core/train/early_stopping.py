"""When to stop, and which step's weights are kept: by pairs that are set aside from the training prompts.

Measured every `eval_steps` steps and after the last one, as `tuning_*`: TRL's names with another prefix, as `eval_*`
are those of held-out pairs, in the same MLflow run. What was measured stands in the history of the steps, which
checkpoints hold: a run that goes on after a kill decides the same.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule

from dpo_core.data.pairs import Example
from dpo_core.model.logprobs import Method
from dpo_core.recipe import EarlyStopping, Training
from dpo_core.report.documents import MeasuredStep, StopRecord
from dpo_core.train.loop import forward
from dpo_core.train.objective import metric_names, values_of


def measure(
    model: torch.nn.Module,
    examples: Sequence[Example],
    training: Training,
    accelerator: Accelerator,
    *,
    method: Method,
    delta: float = 0.0,
) -> dict[str, float]:
    """`tuning_` metrics, means over pairs; all ranks take part, and none learns from it.

    Losses of a whole step are those of `train_batch_size` pairs at a time; weights of WPO are left out; `delta`:
    bco_pair's reward shift.
    """
    size, names = training.train_batch_size, metric_names(training)
    sums = torch.zeros(len(names), dtype=torch.float64)
    for first in range(0, len(examples), size):
        batch = examples[first : first + size]
        values = values_of(batch, forward(model, batch, training, accelerator, method=method), training, delta=delta)
        sums += torch.stack([values[name].sum() for name in names]).cpu()
    for module in model.modules():
        if isinstance(module, FSDPModule):  # gathered by a forward that no backward followed
            module.reshard()
    return {f"tuning_{name}": total / len(examples) for name, total in zip(names, sums.tolist(), strict=True)}


def is_due(step: int, total: int, wanted: EarlyStopping) -> bool:
    """Whether the pairs set aside are measured after this step."""
    return step % wanted.eval_steps == 0 or step == total


def stop_record(history: Sequence[Mapping[str, float]], wanted: EarlyStopping, *, pairs: int, total: int) -> StopRecord:
    """What the measurements so far say; the first of equal ones is best, and what is not finite never is."""
    name = f"tuning_{wanted.metric}"
    measured = [MeasuredStep(step=int(row["step"]), value=row[name]) for row in history if name in row]
    sign = 1.0 if wanted.metric == "loss" else -1.0
    best = min(measured, key=lambda one: sign * one.value if math.isfinite(one.value) else math.inf)
    since = len(measured) - 1 - measured.index(best)
    return StopRecord(
        metric=name,
        pairs=pairs,
        best=best,
        last=measured[-1],
        planned=total,
        stopped=since >= wanted.patience and measured[-1].step < total,
    )

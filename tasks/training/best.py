"""The pairs set aside by `training.early_stopping`, in the training process: measured, and the best weights kept."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from dpo_core.data.pairs import read_examples
from dpo_core.model.logprobs import Method
from dpo_core.recipe import Training
from dpo_core.report.documents import StopRecord
from dpo_core.train.checkpoint import load_weights, save_weights
from dpo_core.train.early_stopping import is_due, measure, stop_record
from dpo_core.train.loop import Step
from tasks.training.process import ASIDE

log = logging.getLogger("dpo.train")
FILE = "best.safetensors"


class BestWeights:
    """What was measured stands in the steps' history; the weights of the best measurement in a file beside it."""

    def __init__(
        self,
        folder: Path,
        policy: torch.nn.Module,
        model: torch.nn.Module,
        training: Training,
        method: Method,
        accelerator: Accelerator,
        checkpoint: Path | None,
    ) -> None:
        """`model`: the policy's Scorer of `method`, as accelerate has prepared it; `checkpoint`: what is gone on from.

        What was measured after that checkpoint is measured again.
        """
        assert training.early_stopping is not None, "nothing is set aside"
        self.file = folder / FILE
        self._examples = read_examples(folder / ASIDE)
        self._policy, self._model, self._method = policy, model, method
        self._training, self._wanted, self._accelerator = training, training.early_stopping, accelerator
        if accelerator.is_main_process:
            self.file.unlink(missing_ok=True)
            if checkpoint is not None and (checkpoint / FILE).is_file():
                os.link(checkpoint / FILE, self.file)
        accelerator.wait_for_everyone()

    def after(self, step: Step, history: list[dict[str, float]]) -> bool:
        """Measure where that is due, into the last of `history`; whether the training ends here."""
        if not is_due(step.number, step.total, self._wanted):
            return False
        history[-1] |= measure(
            self._model,
            self._examples,
            self._training,
            self._accelerator,
            method=self._method,
            delta=history[-1].get("rewards/delta", 0.0),
        )
        found = self.record(history, step.total)
        if found.best == found.last:
            save_weights(self.file, self._policy, write=self._accelerator.is_main_process)
        log.info("measured step=%d %s=%.4f best_step=%d", step.number, found.metric, found.last.value, found.best.step)
        if found.stopped:
            log.warning("stopped_early step=%d of=%d best_step=%d", step.number, step.total, found.best.step)
        return found.stopped

    def record(self, history: Sequence[Mapping[str, float]], total: int) -> StopRecord:
        """The choice so far."""
        return stop_record(history, self._wanted, pairs=len(self._examples), total=total)

    def restore(self) -> None:
        """Give the policy the best weights."""
        self._accelerator.wait_for_everyone()
        load_weights(self.file, self._policy, read=self._accelerator.is_main_process)

"""A model folder's model without weights: its shapes on the meta device."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.recipe import Training

if TYPE_CHECKING:
    import torch


def on_meta(folder: str | Path, trusted_code: str | None) -> "Callable[[Training | None], torch.nn.Module]":
    """Makes the model of a folder on the meta device: frozen or wrapped as a training has it, or as it is."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from dpo_core.model.load import without_dropout
    from dpo_core.train.policy import make_policy

    def made(training: Training | None) -> torch.nn.Module:
        trusted = trusted_code is not None
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trusted)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trusted)
            without_dropout(model)
            model.eval()
            return model if training is None else make_policy(model, training, seed=0)

    return made

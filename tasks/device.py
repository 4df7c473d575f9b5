"""Where models run: the same threads in score, train and evaluate, and the GPU where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_on_device(folder: Path, *, threads: int, trusted_code: str | None = None) -> "PreTrainedModel":
    """The model of a folder in fp32, on the GPU if there is one, with `threads` CPU threads."""
    from transformers.utils import logging as transformers_logging

    from dpo_core.model.load import load_model

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(threads)
    model = load_model(folder, trusted_code=trusted_code)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]
    return model


def device_name() -> str:
    """The arithmetic unit that models run on here: a GPU's product name, or the CPU's vector instructions."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"

"""Where models run: the same threads in score, train and evaluate, and the GPU where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_on_device(
    folder: Path, *, threads: int, trusted_code: str | None = None, device: str | None = None
) -> "PreTrainedModel":
    """The model of a folder in fp32, on `device` or the GPU if there is one, with `threads` CPU threads."""
    from transformers.utils import logging as transformers_logging

    from dpo_core.model.load import load_model

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(threads)
    model = load_model(folder, trusted_code=trusted_code)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place.index is not None:
        torch.cuda.set_device(place)  # kernels are launched there
    model.to(place)  # type: ignore[arg-type]
    return model


def scoring_devices() -> list[str]:
    """The GPUs of the kind that `device_name` names: others compute otherwise. One name where there is no choice."""
    if torch.cuda.device_count() < 2:
        return ["cuda" if torch.cuda.is_available() else "cpu"]
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [f"cuda:{i}" for i, name in enumerate(names) if name == device_name()]


def device_name() -> str:
    """The arithmetic unit that models run on here: a GPU's product name, or the CPU's vector instructions."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"

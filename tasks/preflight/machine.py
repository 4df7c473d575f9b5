"""What this machine has for a run, and how its training is launched."""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from dpo_core.memory import usable_memory
from infra.settings import Settings

WRITTEN = 64 << 20  # bytes of the disk's trial
BLOCK = 1 << 20


@dataclass(frozen=True)
class Machine:
    """Memory of the device that models compute on, in bytes."""

    device: Literal["cpu", "cuda"]
    available: int
    total: int


@dataclass(frozen=True)
class Launch:
    """Processes of a training; `sharded`: weights are spread over them."""

    ranks: int
    sharded: bool


def this_machine() -> Machine:
    """The first GPU, or the memory that this process may use."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Machine("cuda", free, total)
    memory = usable_memory()
    return Machine("cpu", memory.available, memory.total)


def launch_of(settings: Settings) -> Launch:
    """What DPO_ACCELERATE_CONFIG says."""
    if settings.accelerate_config is None:
        return Launch(1, sharded=False)
    config: dict[str, Any] = yaml.safe_load(settings.accelerate_config.read_text(encoding="utf-8")) or {}
    ranks = max(1, int(config.get("num_processes") or 1))
    return Launch(ranks, sharded=str(config.get("distributed_type")).upper() == "FSDP")


def disk_speed(folder: Path) -> float:
    """Bytes a second that are written, brought to the disk and digested, as a checkpoint is."""
    folder.mkdir(parents=True, exist_ok=True)
    probe, block = folder / f".speed-{os.getpid()}", os.urandom(BLOCK)
    began = time.perf_counter()
    try:
        with probe.open("wb") as file:
            for _ in range(WRITTEN // BLOCK):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        with probe.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        return WRITTEN / (time.perf_counter() - began)
    finally:
        probe.unlink(missing_ok=True)

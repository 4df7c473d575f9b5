"""Checkpoints that exist whole or not at all: safetensors and JSON, a manifest with digests written last.

Nothing random happens inside a step and the data order is a function of (seed, epoch), so trainable weights,
optimizer state and the step number are the whole state: resuming gives the same bits. What a run has drawn from its own
model so far is a file beside them.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from dpo_core.data.digests import digest_file

log = logging.getLogger("dpo.train")
MANIFEST = "manifest.json"
KEEP = 2
Name = TypeVar("Name")


def save_checkpoint(
    root: Path,
    step: int,
    policy: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, object],
    *,
    files: Mapping[str, str] = MappingProxyType({}),
    beside: Path | None = None,
    write: bool = True,
) -> Path | None:
    """Write `root/step-N` (temp name, fsync, rename); the one before it is kept, older ones go.

    `files`: text by name; `beside`: a file that is taken in as it is. Every rank calls this, as shards are
    gathered from all; one of them has `write` and gets the folder.
    """
    tensors = _tensors(policy, optimizer, keep=write)
    if not write:
        return None
    folder, partial = root / f"step-{step:08d}", root / f"step-{step:08d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(tensors, partial / "state.safetensors")
    (partial / "state.json").write_text(json.dumps({**state, "step": step}))
    for name, text in files.items():
        (partial / name).write_text(text)
    if beside is not None:
        os.link(beside, partial / beside.name)
    digests = {file.name: digest_file(file) for file in sorted(partial.iterdir())}
    (partial / MANIFEST).write_text(json.dumps(digests))
    for file in partial.iterdir():
        _fsync(file)
    _fsync(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    _fsync(root)
    for older in sorted(root.glob("step-????????"))[:-KEEP]:
        shutil.rmtree(older, ignore_errors=True)
    return folder


def newest_valid(root: Path) -> Path | None:
    """The newest checkpoint whose files have the digests of its manifest; a damaged one is skipped with a warning."""
    for folder in sorted(root.glob("step-????????"), reverse=True):
        try:
            files: dict[str, str] = json.loads((folder / MANIFEST).read_text())
            if all(digest_file(folder / name) == digest for name, digest in files.items()):
                return folder
        except (OSError, ValueError):
            pass
        log.warning("checkpoint_damaged folder=%s action=skipped", folder)
    return None


def load_checkpoint(folder: Path, policy: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore trainable weights and optimizer state in place; returns what `save_checkpoint` was given."""
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, parameter in _trainable(policy):
            parameter.copy_(_like(parameter, tensors[f"weight:{name}"]))
            if f"step:{name}" not in tensors:  # it never had a gradient
                continue
            moments = {key: _like(parameter, tensors[f"{key}:{name}"]) for key in ("exp_avg", "exp_avg_sq")}
            step = tensors[f"step:{name}"].to(parameter.device)  # where the fused optimizer counts
            optimizer.state[parameter] = {"step": step, **moments}
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return state


def save_weights(file: Path, policy: torch.nn.Module, *, write: bool = True) -> None:
    """The trainable weights alone, there whole or not at all. Every rank calls this; one of them has `write`."""
    tensors = brought(dict(_trainable(policy)), keep=write)
    if write:
        partial = file.with_name(f"{file.name}.partial")
        save_file(tensors, partial)
        _fsync(partial)
        partial.replace(file)


def load_weights(file: Path, policy: torch.nn.Module, *, read: bool = True) -> None:
    """Restore what `save_weights` wrote, in place. Every rank calls this; the one that wrote it has `read`.

    Others get their shards from it, and keep weights that are not spread as they are.
    """
    tensors = load_file(file) if read else {}
    with torch.no_grad():
        for name, parameter in _trainable(policy):
            if read:
                parameter.copy_(_like(parameter, tensors[name]))
            elif isinstance(parameter, DTensor):
                parameter.copy_(_like(parameter, torch.empty(parameter.shape)))


def _trainable(policy: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, parameter) for name, parameter in policy.named_parameters() if parameter.requires_grad]


def _tensors(policy: torch.nn.Module, optimizer: torch.optim.Optimizer, *, keep: bool) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in _trainable(policy):
        tensors[f"weight:{name}"] = parameter
        tensors |= {f"{key}:{name}": value for key, value in optimizer.state[parameter].items()}
    return brought(tensors, keep=keep)


def brought(tensors: Mapping[Name, torch.Tensor], *, keep: bool) -> dict[Name, torch.Tensor]:
    """Whole tensors in the memory of the CPU, on ranks that `keep` them; of those that are spread all ranks call it.

    One at a time: all of them whole would be a second model on each device.
    """
    kept = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor.detach())
        if keep:
            kept[name] = gathered.contiguous().cpu()
    return kept


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that FSDP has spread over the ranks, gathered; any other as it is. All ranks call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` on the parameter's device, spread over the ranks as it is."""
    tensor = tensor.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

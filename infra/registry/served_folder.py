"""Whether a version's folder is as it was registered, before anything of it is loaded; and what ends its answers.

It is stored beside `served_model.py` and runs where this package is not installed.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".so")
CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "generation_config.json")


def require_as_registered(folder: Path, files: Mapping[str, str] | None, trusted: str | None) -> None:
    """Raise RuntimeError unless the folder holds what was registered, and code only that it was registered with."""
    found = {file.relative_to(folder).as_posix(): _sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    code = {name: digest for name, digest in found.items() if name.endswith(".py")}
    text = json.dumps(code, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    own = hashlib.sha256(text.encode()).hexdigest() if code else None  # as dpo_core.model.remote_code.digest_code
    again = "find out who changed the artifacts, or register the model again"
    if own != trusted:
        says = f"the Python files have the digest {own}, the version was registered with {trusted}: none is run"
        raise _unfit(says, folder, again)
    for name in found:
        if name.endswith(PICKLES):
            raise _unfit(f"{name} can run code when it is loaded", folder, "weights are read from *.safetensors alone")
    for name, reference in _pointers(folder):
        if own is None or re.fullmatch(r"\w+\.\w+", reference) is None:
            raise _unfit(f"{name} asks for code of another place: {reference}", folder, again)
    if files is not None and found != files:
        changed = sorted(name for name in {*found, *files} if found.get(name) != files.get(name))
        raise _unfit(f"not as registered: {', '.join(changed)}", folder, again)


def _unfit(says: str, folder: Path, do: str) -> RuntimeError:
    return RuntimeError(f"{says}\n  where: {folder}\n  do:    {do}")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _pointers(folder: Path) -> Iterator[tuple[str, str]]:
    """The classes that the configurations want from files of their own: MODULE.CLASS."""
    for name in CONFIGS:
        named = _values(folder / name).get("auto_map")
        for references in named.values() if isinstance(named, dict) else [] if named is None else [named]:
            for reference in references if isinstance(references, list) else [references]:
                if reference is not None:  # a tokenizer without a fast (or a slow) class
                    yield name, str(reference)


def named_ends(folder: Path) -> list[int]:
    """What ends an answer: training has named every such token in the generation config."""
    for name in ("generation_config.json", "config.json"):
        ends = _values(folder / name).get("eos_token_id")
        if ends is not None:
            return list(ends) if isinstance(ends, list) else [ends]
    return []


def _values(file: Path) -> dict[str, Any]:
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return values if isinstance(values, dict) else {}

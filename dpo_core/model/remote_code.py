"""Code that a model folder brings along: refused unread, or run if it is, byte for byte, what the recipe names."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.errors import InputError

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".so")
_CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "generation_config.json")
COMMIT = 40  # hex digits of a commit; a digest of code has 64


def digest_code(folder: Path) -> str | None:
    """SHA-256 over the folder's Python files, names and bytes; None where there are none."""
    files = sorted(folder.rglob("*.py"))
    return digest_json({file.relative_to(folder).as_posix(): digest_file(file) for file in files}) if files else None


def trusted_code(pin: str | None, folder: Path) -> str | None:
    """The digest of the code that may run, from the recipe's `trust_remote_code`. Raises InputError.

    A commit is for a snapshot that was just fetched from the hub at it (`fetch_model` takes it for nothing else): every
    Python file must be the blob that the hub named when it was downloaded.
    """
    if pin is None:
        return None
    found = digest_code(folder)
    if found is None:
        raise InputError(
            "trust_remote_code is set, and the model folder holds no code of its own",
            where=str(folder),
            do="take trust_remote_code out of the recipe",
        )
    if len(pin) != COMMIT:
        return pin
    snapshot = folder.absolute()
    if (snapshot.parent.name, snapshot.name) != ("snapshots", pin):
        raise InputError(
            "trust_remote_code is a commit, and this is no folder that the hub's cache has for it",
            where=str(folder),
            do=f"read the code; to run it write its digest, trust_remote_code: {found}",
        )
    for file in sorted(snapshot.rglob("*.py")):
        if not _is_blob(file, snapshot.parent.parent / "blobs"):
            raise InputError(
                f"{file.name} is not the file that the hub named for this commit: changed since, or no link to a blob",
                where=str(file),
                do=f"remove {snapshot.parent.parent} and fetch it again; or read the code, and to run it as it is "
                f"write its digest, trust_remote_code: {found}",
            )
    return found


def _is_blob(file: Path, blobs: Path) -> bool:
    """Whether a file of a snapshot is a link to the blob of its content: git's SHA-1 of it, or (LFS) its SHA-256."""
    if not file.is_symlink():
        return False
    blob, data = Path(os.path.normpath(file.parent / file.readlink())), file.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return blob.parent == blobs and blob.name in (git, hashlib.sha256(data).hexdigest())


def require_no_other_code(folder: Path, trusted: str | None) -> None:
    """Raise InputError for a folder with pickles, or with code other than `trusted`; nothing of it is run."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in _PICKLES:
            do = "remove it; weights are read from *.safetensors alone"
            raise InputError(_can_run(file), where=str(file), do=do)
    found = digest_code(folder)
    if found is not None and trusted is None:
        file = min(folder.rglob("*.py"))
        do = f"read it; to run it write trust_remote_code: {found} in the recipe, else remove it"
        raise InputError(_can_run(file), where=str(file), do=do)
    if found is not None and found != trusted:
        raise InputError(
            f"the model's own code is not what trust_remote_code names: its digest is {found}, not {trusted}",
            where=str(folder),
            do=f"read the code again; to run it write trust_remote_code: {found} in the recipe",
        )
    for file, reference in _pointers(folder):
        if found is None:
            raise InputError(
                f"{file.name} asks for code of the model's own (auto_map)",
                where=str(file),
                do="use a model that transformers knows by itself; or read the code, and set trust_remote_code to the "
                "commit of the hub's model that you read",
            )
        if re.fullmatch(r"\w+\.\w+", reference) is None:
            do = "save the code that it names beside the weights, and point auto_map there"
            raise InputError(f"{file.name} asks for code of another place: {reference}", where=str(file), do=do)


def _can_run(file: Path) -> str:
    return f"the model folder holds {file.name}, which can run code when it is loaded"


def _pointers(folder: Path) -> Iterator[tuple[Path, str]]:
    """The classes that the configurations want from files of their own: MODULE.CLASS."""
    for name in _CONFIGS:
        file = folder / name
        named = _values(file).get("auto_map") if file.is_file() else None
        for references in named.values() if isinstance(named, dict) else [named] if named is not None else []:
            for reference in references if isinstance(references, list) else [references]:
                if reference is not None:  # a tokenizer without a fast (or a slow) class
                    yield file, str(reference)


def _values(file: Path) -> dict[str, object]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError):
        do = "save the model again with save_pretrained"
        raise InputError(f"{file.name} is no JSON object", where=str(file), do=do) from None

"""Which files a source names (a file, a folder, a glob) and their digest; or a data set of the Hugging Face hub."""

import glob
import json
import re
from pathlib import Path

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.data.hub import hub_revision, is_hub_name
from dpo_core.errors import InputError

PACKED = ("", ".gz", ".zst")
TEXT = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json", ".ndjson") for packed in PACKED)
SUFFIXES = (*TEXT, ".parquet", ".arrow")
NOTES = ("dataset_info.json", "dataset_dict.json", "state.json", "dataset_infos.json", "MANIFEST.json")
SPLIT = re.compile(r"(?:^|[/._-])(train|test|validation|valid|val|dev|eval)(?=[/._-])")
KNOWN = ".jsonl, .json (each also .gz or .zst), .parquet, .arrow"


def digest_source(source: str) -> str:
    """SHA-256 of the bytes of a source's files (of a single file: the file's own); of the hub's: its commit."""
    if is_hub_name(source):
        return hub_revision(source)
    files = files_of(source)
    if len(files) == 1:
        return digest_file(files[0])
    return digest_json([[path.name, digest_file(path)] for path in files])


def files_of(source: str) -> list[Path]:
    """The files that a path, a folder or a glob names, sorted by name."""
    path = Path(source)
    if "\0" in source:
        raise InputError("a path holds a NUL character", where=repr(source[:200]), do="check the path")
    if path.is_dir():
        found = _in_folder(path)
    elif not path.exists() and glob.has_magic(source):
        # a pattern may be absolute, which Path.glob is not made for
        found = sorted(Path(name) for name in glob.iglob(source, recursive=True) if Path(name).is_file())  # noqa: PTH207
        if not found:
            raise InputError("no file has such a name", where=source, do="check the pattern; quote it in a shell")
    else:
        found = [path]
    for file in found:
        _require_file(file)
    return found


def _in_folder(folder: Path) -> list[Path]:
    """Data files below a folder; a folder of several splits is refused, because mixing them leaks."""
    splits = folder / "dataset_dict.json"
    if splits.is_file():
        names = [str(name) for name in json.loads(splits.read_text()).get("splits", [])]
        raise _several(folder, names)
    inside = (path for path in folder.rglob("*") if path.is_file() and path.name.endswith(SUFFIXES))
    found = sorted(
        path
        for path in inside
        if path.name not in NOTES and not any(part[0] in "._" for part in path.relative_to(folder).parts)
    )
    if not found:
        raise InputError("the folder holds no file of pairs", where=str(folder), do=f"read are {KNOWN}")
    named = {match[1] for path in found for match in SPLIT.finditer(path.relative_to(folder).as_posix())}
    if len(named) > 1:
        raise _several(folder, sorted(named))
    return found


def _several(folder: Path, names: list[str]) -> InputError:
    return InputError(
        f"the folder holds several splits: {', '.join(names)}",
        where=str(folder),
        do=f"name one: a folder, a file, or a pattern such as {folder}/*{names[0] if names else 'train'}*",
    )


def _require_file(path: Path) -> None:
    if not path.exists():
        raise InputError("there is no such file", where=str(path), do="check the path")
    if not path.is_file():
        raise InputError("this is no ordinary file", where=str(path), do="name a file or a folder")
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"unknown kind of file {path.suffix or path.name!r}", where=str(path), do=f"use {KNOWN}")
    if not path.stat().st_size:
        raise InputError("the file is empty", where=str(path), do="check the export that wrote it")

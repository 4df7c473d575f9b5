"""Which files a source names (a file, a folder, a glob) and their digest; or a data set of the Hugging Face hub."""

import glob
import json
import os
import re
from pathlib import Path

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.data.hub import hub_revision, is_hub_name
from dpo_core.errors import InputError

DATASET = "dataset:"  # before the name of a data set of the store: dataset:NAME[@VERSION]
PACKED = ("", ".gz", ".zst")
TEXT = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json", ".ndjson") for packed in PACKED)
SUFFIXES = (*TEXT, ".parquet", ".arrow")
LIST_LIMIT = 1 << 20  # characters
NOTES = ("dataset_info.json", "dataset_dict.json", "state.json", "dataset_infos.json", "MANIFEST.json")
SPLITS = {  # how a split is named, in a file or a folder
    "train": "train(?:ing)?",
    "test": "test(?:ing)?",
    "validation": "val(?:id(?:ation)?)?|dev(?:el(?:opment)?)?",
    "eval": "eval(?:uation)?",
    "held out": "held[_-]?out|hold[_-]?out",
}
SPLIT = re.compile(
    "(?:^|[/._-])("
    + "|".join(f"(?P<s{n}>{p})" for n, p in enumerate(SPLITS.values()))
    + r")(?:[_-]?(?:set|split|data))?"
    r"\d*(?=[/._-])",
    re.IGNORECASE,
)
KNOWN = ".jsonl, .json (each also .gz or .zst), .parquet, .arrow"
PANDAS = "convert it: python3 -c \"import pandas; pandas.{0}.to_json('pairs.jsonl', orient='records', lines=True)\""
CONVERT = {
    ".csv": PANDAS.format("read_csv('{name}')"),
    ".tsv": PANDAS.format("read_csv('{name}', sep='\\t')"),
    ".xlsx": "save it as CSV first, then convert that to JSON lines",
    ".feather": "give it the suffix .arrow, which it is",
    **dict.fromkeys((".xz", ".bz2", ".zip", ".7z", ".tar", ".tgz"), "unpack it; or compress it with gzip or zstd"),
}


def is_address(source: str) -> bool:
    """Whether a source is no path: an address (s3://...), or a data set of the store."""
    return "://" in source or source.startswith(DATASET)


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
    try:
        found = _named(source, path)
    except OSError as error:
        says = f"the path cannot be looked at: {error.strerror or error}"
        raise InputError(says, where=source[:500], do="check the path, and who may read it") from None
    for file in found:
        _require_file(file)
    return found


def _named(source: str, path: Path) -> list[Path]:
    if path.is_dir():
        return _in_folder(path)
    if path.exists() or not glob.has_magic(source):
        return [path]
    # a pattern may be absolute, which Path.glob is not made for
    names = glob.iglob(source, recursive=True)  # noqa: PTH207
    found = sorted(file for file in map(Path, names) if not file.is_dir())
    if not found:
        raise InputError("no file has such a name", where=source, do="check the pattern; quote it in a shell")
    fixed = re.split(r"[*?[]", source)[0]
    _require_one_split(found, Path(fixed if fixed.endswith("/") else os.path.dirname(fixed)), source)  # noqa: PTH120
    return found


def _in_folder(folder: Path) -> list[Path]:
    """Data files below a folder; a folder of several splits is refused, because mixing them leaks."""
    splits = folder / "dataset_dict.json"
    if splits.is_file():
        names = sorted(_splits_of(splits), key=lambda name: name != "train")
        raise _several(str(folder), names, str(folder / names[0]) if names else "a folder in it")
    inside = (path for path in folder.rglob("*") if path.name.endswith(SUFFIXES) and not path.is_dir())
    found = sorted(
        path
        for path in inside
        if path.name not in NOTES and not any(part[0] in "._" for part in path.relative_to(folder).parts)
    )
    if not found:
        raise InputError("the folder holds no file of pairs", where=str(folder), do=f"read are {KNOWN}")
    _require_one_split(found, folder, str(folder))
    return found


def _splits_of(path: Path) -> list[str]:
    """The folders that `save_to_disk` made of a DatasetDict."""
    try:
        names = json.loads(path.read_text(encoding="utf-8")[:LIST_LIMIT])["splits"]
        return [str(name) for name in names]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _require_one_split(files: list[Path], folder: Path, source: str) -> None:
    """Raises InputError where some files are named as one split, and others as another, or not."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_of(file.relative_to(folder).as_posix()), []).append(file)
    if len(splits) > 1 and not splits.keys() <= {"", "train"}:
        names = sorted(splits, key=lambda name: (name != "train", name != "", name))
        raise _several(source, [name or "no name" for name in names], _pattern(splits[names[0]], files))


def split_of(name: str) -> str:
    """The split that a path names, in its last part that does; empty if none."""
    found = list(SPLIT.finditer(name))
    return next((kind for n, kind in enumerate(SPLITS) if found and found[-1][f"s{n}"]), "")


def _pattern(wanted: list[Path], files: list[Path]) -> str:
    """A folder or a pattern that is these of the files and no other; else the first of them."""
    folder = Path(os.path.commonpath([file.parent for file in wanted]))
    if all(folder not in file.parents for file in files if file not in wanted):
        return str(folder)
    start = os.path.commonprefix([file.name for file in wanted])  # noqa: RUF071  of characters, as is meant
    pattern = f"{glob.escape(str(folder))}/{glob.escape(start)}*"
    same = len(wanted) > 1 and sorted(map(Path, glob.glob(pattern))) == wanted  # noqa: PTH207
    return pattern if same else str(wanted[0])


def _several(where: str, names: list[str], first: str) -> InputError:
    return InputError(
        f"the {'folder holds' if Path(where).is_dir() else 'pattern names'} several splits: {', '.join(names)}",
        where=where,
        do=f"name one to train on, such as {first}; data.eval takes another",
    )


def _require_file(path: Path) -> None:
    if not path.exists():
        raise InputError("there is no such file", where=str(path), do="check the path")
    if not path.is_file():
        raise InputError("this is no ordinary file", where=str(path), do="copy what it gives to a file, and name that")
    if not path.name.endswith(SUFFIXES):
        do = CONVERT.get(path.suffix.lower(), "use {known}").format(name=path, known=KNOWN)
        raise InputError(f"unknown kind of file {path.suffix or path.name!r}", where=str(path), do=do)
    if not path.stat().st_size:
        raise InputError("the file is empty", where=str(path), do="check the export that wrote it")

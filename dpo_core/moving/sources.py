"""The models and pairs that a config names: files that are there, or names of the hub."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from dpo_core.data.hub import FILE, is_hub_name
from dpo_core.data.readers import chunks_of
from dpo_core.data.sources import is_address
from dpo_core.errors import InputError
from dpo_core.model.folder.files import read_json
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft

HUB_MODEL = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
SLICE = re.compile(r"\[.*\]$")  # of a split: train[:1000]
WHOLE_SET = (
    "all rows are read; for a part: dpo data add NAME SOURCE, then dpo data mix OTHER --from NAME:0.1 (or :1000)"
)
UP = 3  # folders above the config's that a path may be meant from: tools take it from where they were started
LONGEST = 200  # characters of a name of the hub, or of a file's id
GENERIC = re.compile(
    r"out(?:put)?s?|results?|saves?|models?|model-out|checkpoints?|runs?|dpo|orpo|simpo|lora|full|train"
)


def find_pairs(text: str, cell: Cell) -> str:
    """A source of pairs as it is meant from here. Raises InputError where nothing has this name."""
    path = None if is_address(text) else _there(text, cell)
    if path is None and len(text) > LONGEST:
        raise _missing(text, cell, "--data", "pairs")
    if is_address(text) or (path is None and is_hub_name(text)):
        return text
    if path is None:
        raise _missing(text, cell, "--data", "pairs")
    return path


def find_model(text: str, cell: Cell) -> str:
    """A model as it is meant from here. Raises InputError where nothing has this name."""
    if text.startswith(("models:/", "pypi:")):
        return text
    if (path := _there(text, cell)) is not None:
        return path
    if HUB_MODEL.fullmatch(text) and not FILE.search(text):
        return text
    raise _missing(text, cell, "--model", "the model")


def type_of(model: str) -> str | None:
    """The `model_type` of a model folder on this machine; None of what is not here, or says none."""
    try:
        kind = read_json(Path(model) / "config.json").get("model_type")
    except (InputError, OSError):
        return None
    return kind if isinstance(kind, str) else None


def hub_or_file(name: str, config: str | None, split: str, cell: Cell) -> str:
    """A data set as `load_dataset` names it: its configuration and split belong to a name of the hub alone."""
    found = find_pairs(name, cell)
    if found != name or Path(name).exists() or is_address(name):
        return found
    split = SLICE.sub("", split)
    parts = [name, config, split] if config else [name, split] if split != "train" else [name]
    return ":".join(map(str, parts))


def told_split(draft: Draft, cell: Cell, says: str) -> None:
    """A split is read as it is, but a slice of one is not cut."""
    if SLICE.search(str(cell.value)):
        draft.change(cell, WHOLE_SET)
    else:
        draft.same(cell, says)


def rows_of(source: str) -> int:
    """Rows of files on this machine, not looked into; 0 of what is not here, or cannot be read."""
    if not source or is_address(source) or is_hub_name(source):
        return 0
    try:
        return sum(len(chunk) for chunk in chunks_of(source))
    except (InputError, OSError):
        return 0


def set_pairs(draft: Draft, key: str, named: Sequence[tuple[Cell, str]], mix: str, says: str = "") -> None:
    """One source, or a data set of the store that is to be mixed of several first; `says` what is other than asked."""
    if len(named) == 1:
        draft.take(named[0][0], key, named[0][1], says, changed=bool(says))
        return
    parts = []
    for number, (cell, source) in enumerate(named, 1):
        part = f"{mix}-{number}"
        draft.commands.append(shlex.join(["dpo", "data", "add", part, source]))
        parts += ["--from", part]
        first = f"one of {len(named)}: mix them first, see Next"
        draft.take(cell, key, f"dataset:{mix}", f"{first}; {says}" if says else first, changed=True)
    draft.commands.append(shlex.join(["dpo", "data", "mix", mix, *parts]))


def name_of(*candidates: str | None) -> str:
    """A name for the registry out of the first path or name that says more than `output`."""
    for text in filter(None, candidates):
        kept: list[str] = []
        for part in reversed([part for part in re.split(r"[/:]+", str(text)) if part not in ("", ".", "..")]):
            kept.insert(0, re.sub(r"[^A-Za-z0-9_.-]+", "-", part).strip("-._"))
            if kept[0] and not GENERIC.fullmatch(kept[0].lower()):
                return "-".join(filter(None, kept))
    return "imported"


def named_after(sheet: Sheet) -> str:
    """A name out of where the config writes its model to; of the config's own where that says nothing."""
    written = [sheet.values.get(name) for name in ("hub_model_id", "output_dir")]
    return name_of(*(text for text in written if isinstance(text, str)), Path(sheet.file).stem)


def set_name(draft: Draft, sheet: Sheet) -> None:
    """The name in the registry."""
    for name in ("hub_model_id", "output_dir"):
        if isinstance(sheet.values.get(name), str) and "name" not in draft.values:
            draft.take(sheet.cell(name), "name", named_after(sheet), "the model's name in the registry")


def _there(text: str, cell: Cell) -> str | None:
    """The path, from here or from the config's folder or one above it, if there is something."""
    if "\0" in text or not text.strip():
        return None
    here = Path(cell.file).resolve().parent
    for folder in (Path(), here, *list(here.parents)[:UP]):
        path = folder / Path(text).expanduser()
        try:
            if path.exists():
                return str(path) if Path(text).is_absolute() else os.path.relpath(path)
        except OSError:
            return None
    return None


def _missing(text: str, cell: Cell, option: str, what: str) -> Exception:
    says = f"{cell.name.rpartition('.')[2]} names {text!r:.200}, and there is no such file or folder"
    do = (
        f"paths are looked for from here, and from the config's folder and {UP} above it; or name {what}: {option} PATH"
    )
    return cell.refused(says, do)

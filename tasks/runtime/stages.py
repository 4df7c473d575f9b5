"""A finished stage is a look-up: its output is named by the digest of its inputs and of the code that computes it."""

import ast
import contextlib
import functools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.data.digests import digest_json
from infra.errors import Damaged, InfraError, ObjectMissing
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from tasks.runtime.scratch import scratch_folder

log = logging.getLogger("dpo.stage")
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Stage:
    """What became of one stage of a run."""

    name: str
    cached: bool
    seconds: float
    key: str = ""  # of its record in the store


def remembered(
    store: Store,
    name: str,
    inputs: Mapping[str, Any],
    compute: Callable[[], dict[str, Any]],
    *,
    code: tuple[str, ...],
    force: bool = False,
    there: Callable[[dict[str, Any]], bool] = lambda output: True,
) -> tuple[dict[str, Any], Stage]:
    """The stage's output, from the store if these inputs and this code gave it before, else from `compute`.

    `code` names the modules and packages whose change must recompute it; `there` tells whether the objects that the
    output names are still in the store. A record that is used is written again: garbage collection takes it, and all
    that it names, for young then.
    """
    start = time.monotonic()
    named = {"inputs": dict(inputs), "code": code_digest(code)}
    key = f"stages/{name}/{digest_json(named)}.json"
    home = load_settings().home
    kept = home / key
    if not force:
        data = _record(store, key)
        if data is not None and there(output := json.loads(data)["output"]):
            store.put_bytes(key, data)
            kept.unlink(missing_ok=True)  # of a run that was killed with the record stored
            return output, Stage(name, cached=True, seconds=time.monotonic() - start, key=key)
    output = None if force else _kept(kept, there)
    if output is None:
        output = compute()
    record = {**named, "inputs_sha256": digest_json(named["inputs"]), "output": output}
    _keep(home, kept, data := json.dumps(record).encode())
    store.put_bytes(key, data)
    kept.unlink(missing_ok=True)  # a run beside this one, of the same recipe, may have come first
    return output, Stage(name, cached=False, seconds=time.monotonic() - start, key=key)


@contextlib.contextmanager
def damage_removed() -> Iterator[None]:
    """An object that was found damaged is deleted: the stage that made it makes it again in the next run."""
    try:
        yield
    except Damaged as damaged:
        if not _removed(damaged):
            raise
        do = "it has been removed: run the same command again, and it is made again"
        raise Damaged(damaged.says, where=damaged.where, do=do) from damaged


def _removed(damaged: Damaged) -> bool:
    """Whether the object was ours, was looked at once more, and is gone."""
    store = open_store(load_settings())
    key = damaged.where.removeprefix(f"{store.url}/")
    try:
        found, recorded = store.digests(key)
        if found == recorded:
            return False
        store.delete(key)
    except InfraError:
        return False
    log.warning("damaged_removed key=%s", key)
    return True


def _keep(home: Path, path: Path, data: bytes) -> None:
    """On this machine, until the store has it: one that is away then costs no second computation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(home) as scratch:
        (scratch / path.name).write_bytes(data)
        (scratch / path.name).replace(path)


def _kept(path: Path, there: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    try:
        output: dict[str, Any] = json.loads(path.read_bytes())["output"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return output if there(output) else None


def _record(store: Store, key: str) -> bytes | None:
    """The record as it was written; one that is damaged is as good as none."""
    try:
        data = store.get_bytes(key)
        json.loads(data)["output"]
    except ObjectMissing:
        return None
    except (Damaged, ValueError, KeyError, TypeError):
        log.warning("stage_record_damaged key=%s action=computed_again", key)
        return None
    return data


@functools.cache
def code_digest(names: tuple[str, ...]) -> str:
    """Digest of modules (`dpo_core/recipe.py`) and packages (`dpo_core/model`, templates too).

    Comments and docstrings of Python do not count.
    """
    files: list[Path] = []
    for name in names:
        path = ROOT / name
        files += sorted(file for kind in ("*.py", "*.j2") for file in path.rglob(kind)) if path.is_dir() else [path]
    return digest_json({file.relative_to(ROOT).as_posix(): _meaning(file) for file in files})


@functools.cache
def _meaning(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)

"""A finished stage is a look-up: its output is named by the digest of its inputs and of the code that computes it."""

import contextlib
import functools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from dpo_core.data.digests import digest_json
from dpo_core.records import Record
from infra.errors import Damaged, InfraError, ObjectMissing
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from tasks.records import Stage
from tasks.runtime.code import ROOT, files_of, meaning
from tasks.runtime.scratch import scratch_folder

log = logging.getLogger("dpo.stage")


Output = TypeVar("Output", bound=Record)


def remembered(
    store: Store,
    name: str,
    inputs: Mapping[str, object],
    compute: Callable[[], Output],
    *,
    output: type[Output],
    code: tuple[str, ...],
    force: bool = False,
    there: Callable[[Output], bool] = lambda output: True,
    lasting: Callable[[Output], bool] = lambda output: True,
) -> tuple[Output, Stage]:
    """The stage's output, from the store if these inputs and this code gave it before, else from `compute`.

    `code` names the modules that compute it: a change in one of them, or in what they import, computes it again.
    `there` tells whether the objects that the output names are still in the store, `lasting` whether another try would
    give it again: else it is not remembered. A record that is used is written again: that refreshes it, and all that it
    names, for garbage collection.
    """
    start = time.monotonic()
    named = {"inputs": dict(inputs), "code": code_digest(code)}
    key = f"stages/{name}/{digest_json(named)}.json"
    home = load_settings().home
    kept = home / key
    if not force:
        data = _record(store, key, output)
        if data is not None and there(found := _output(data, output)):
            store.put_bytes(key, data)
            kept.unlink(missing_ok=True)  # of a run that was killed with the record stored
            return found, Stage(name=name, cached=True, seconds=time.monotonic() - start, key=key)
    result = None if force else _kept(kept, output, there)
    if result is None:
        result = compute()
        if not lasting(result):
            return result, Stage(name=name, cached=False, seconds=time.monotonic() - start)
    record = {**named, "inputs_sha256": digest_json(named["inputs"]), "output": result.model_dump(mode="json")}
    _keep(home, kept, data := json.dumps(record).encode())
    store.put_bytes(key, data)
    kept.unlink(missing_ok=True)  # a run beside this one, of the same recipe, may have come first
    return result, Stage(name=name, cached=False, seconds=time.monotonic() - start, key=key)


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


def _kept(path: Path, output: type[Output], there: Callable[[Output], bool]) -> Output | None:
    try:
        found = _output(path.read_bytes(), output)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if there(found) else None


def _record(store: Store, key: str, output: type[Output]) -> bytes | None:
    """The record as it was written; one that is damaged is as good as none."""
    try:
        data = store.get_bytes(key)
        _output(data, output)
    except ObjectMissing:
        return None
    except (Damaged, ValueError, KeyError, TypeError):
        log.warning("stage_record_damaged key=%s action=computed_again", key)
        return None
    return data


def _output(data: bytes, output: type[Output]) -> Output:
    """Raises ValueError, KeyError or TypeError for what is no record of such an output."""
    return output.model_validate(json.loads(data)["output"])


@functools.cache
def code_digest(modules: tuple[str, ...]) -> str:
    """Digest of these modules and of all that they import (`code.py`); comments and docstrings do not count."""
    return digest_json({file.relative_to(ROOT).as_posix(): meaning(file) for file in files_of(modules)})

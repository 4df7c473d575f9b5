"""Checkpoints in the store while training goes on, so that a run can go on on another machine."""

import logging
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from dpo_core.train.checkpoint import newest_valid
from infra.errors import Damaged, InfraError, ObjectMissing
from infra.store.base import MANIFEST, Store

log = logging.getLogger("dpo.train")
KEEP = 2


class CheckpointUploads:
    """Stores one checkpoint at a time under `prefix`, in a thread; a context that ends when the last one is there.

    While one is on its way, later ones are left out. A store that is away costs a warning, not the run.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._current: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def add(self, checkpoint: Path) -> None:
        """Store a finished checkpoint, unless an earlier one is still on its way."""
        if self._current is not None and not self._current.done():
            return
        links = checkpoint.with_name("uploading")  # the trainer may remove the checkpoint meanwhile
        shutil.rmtree(links, ignore_errors=True)
        shutil.copytree(checkpoint, links, copy_function=os.link)
        self._current = self._thread.submit(self._upload, links, checkpoint.name)

    def _upload(self, links: Path, name: str) -> None:
        try:
            self._store.put_folder(f"{self._prefix}/{name}", links)
            for older in _complete(self._store, self._prefix)[:-KEEP]:
                self._store.drop_folder(f"{self._prefix}/{older}")
        except InfraError as error:
            log.warning("checkpoint_not_uploaded name=%s reason=%r", name, error.says)
        finally:
            shutil.rmtree(links, ignore_errors=True)


def fetch_newest(store: Store, prefix: str, root: Path) -> None:
    """Bring the newest stored checkpoint that is whole to `root`, unless this machine has one of its own."""
    if newest_valid(root) is not None:
        return
    for name in reversed(_complete(store, prefix)):
        try:
            store.get_folder(f"{prefix}/{name}", root / name)
        except (Damaged, ObjectMissing) as error:
            log.warning("checkpoint_dropped name=%s reason=%r action='the one before is taken'", name, error.says)
            store.drop_folder(f"{prefix}/{name}")
            shutil.rmtree(root / name, ignore_errors=True)
            continue
        log.warning("checkpoint_fetched name=%s from=%s", name, store.url)
        return


def forget(store: Store, prefix: str) -> None:
    """Remove all checkpoints under `prefix`."""
    store.drop_folder(prefix)


def _complete(store: Store, prefix: str) -> list[str]:
    """Names of the checkpoints that are there as a whole, oldest first."""
    keys = [key.removeprefix(f"{prefix}/").split("/") for key in store.list(f"{prefix}/")]
    return sorted(name for name, *rest in keys if rest == [MANIFEST])

"""A program that does one thing to a champion, and is killed (-9) before its Nth touch of store or registry.

`python -m tests.faults.promoting VERB NAME VERSION KILL_AT` (0: never; a name: before that one's first call).
It prints how often it touched them. Exit code 3 where another process was first. A touch of S3 is a request.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from infra.ledger import champion as ledger
from infra.ledger.chain import Moved
from infra.settings import load_settings, prepare_environment
from infra.store import open_store
from infra.store.base import Store
from infra.store.folder import FolderStore


def dies_before(touch: Callable[..., Any], touches: "itertools.count[int]", kill_at: str) -> Callable[..., Any]:
    """The same, but the process is gone where the count, or the touch, is that."""

    def counted(*arguments: Any, **options: Any) -> Any:
        if kill_at in (str(next(touches)), touch.__name__):
            os.kill(os.getpid(), signal.SIGKILL)
        return touch(*arguments, **options)

    return counted


def of(store: Store) -> tuple[type, tuple[str, ...]]:
    """The class, and those of its methods, that a touch of this store goes through."""
    if isinstance(store, FolderStore):
        return FolderStore, ("_write", "get_bytes", "entries")
    from botocore.client import BaseClient

    return BaseClient, ("_make_api_call",)


def main() -> None:
    """Do it."""
    verb, name, version, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    prepare_environment(load_settings())
    from tasks.commands import promotion

    promotion._require_answer = lambda *found: None  # of weights that are a letter; test_promotion has real ones
    touches = itertools.count(1)
    for name_of in ("alias_and_tag", "move_alias", "set_model_tag"):
        vars(ledger)[name_of] = dies_before(vars(ledger)[name_of], touches, kill_at)
    store = open_store(load_settings())
    touched, names = of(store)
    for name_of in names:
        setattr(touched, name_of, dies_before(getattr(touched, name_of), touches, kill_at))
    try:
        if verb == "promote":
            promotion.promote(store, name, version, who="ada", why="by hand")
        elif verb == "approve":
            promotion.approve(store, name, version, by="ada", why="seen")
        else:
            promotion.rollback(store, name, version or None, who="ada", why="it was worse")
    except Moved:
        sys.exit(3)
    sys.stdout.write(str(next(touches) - 1))


if __name__ == "__main__":
    main()

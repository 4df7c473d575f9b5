"""Prefect flows: the order of the tasks. `retrain`, `quality` and `evaluate`; `cli` is the command line."""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _ours_first() -> None:
    """Where PYTHONPATH leads to other modules of our names, a `tasks.py` say, ours are found before them."""
    for name in ("tasks", "infra", "dpo_core"):
        found = PathFinder.find_spec(name)
        if found is not None and (found.origin is None or not Path(found.origin).resolve().is_relative_to(ROOT)):
            sys.path.insert(0, str(ROOT))
            return


_ours_first()

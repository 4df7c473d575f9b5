"""Who started a run, from which file at which commit: the tags by which MLflow's pages show it."""

import contextlib
import getpass
import os
import subprocess
from pathlib import Path

from infra.settings import load_settings
from tasks.runtime.start import START


def provenance(model: str, file: Path) -> dict[str, str]:
    """Tags of a run of the recipe in `file` that begins with `model`; what is not known is left out.

    Their names are MLflow's own where it has some.
    """
    tags = {START: model, "mlflow.source.name": file.name, "mlflow.source.type": "LOCAL"}
    if who := user():
        tags["mlflow.user"] = who
    folder = file.resolve().parent
    if built := load_settings().git_commit:
        tags["mlflow.source.git.commit"] = built
    elif commit := _git(folder, "rev-parse", "HEAD"):
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        tags["mlflow.source.git.commit"] = commit
        tags["mlflow.source.git.dirty"] = str(bool(changed)).lower()
    return tags


def user() -> str:
    """The login name of who runs this; empty where there is none."""
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        return getpass.getuser()
    return ""


def _git(folder: Path, *arguments: str) -> str:
    """What git says of the repository that holds `folder`; nothing where there is none, or no git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()

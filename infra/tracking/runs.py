"""MLflow runs, by run id everywhere: the active run is thread-local, and Prefect runs tasks in threads.

MLflow's writes are at-least-once (a lost answer leaves a second row), so a run carries its key as a tag, is searched
before it is created, and duplicates are marked. What runs log goes through journals (`infra/tracking/journal.py`).
"""

import shlex
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from infra.errors import InfraError
from infra.secrets import without_secrets, without_user
from infra.settings import load_settings
from infra.tracking.client import client_of, mlflow_errors, set_past_others, tracking_uri
from infra.tracking.delivery import OPENING, deliver_all
from infra.tracking.journal import journals
from infra.tracking.run import Run, mlflow_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

RUN_KEY = "dpo.run_key"
DUPLICATE = "dpo.duplicate_of"
PARENT = "mlflow.parentRunId"


def open_run(
    experiment: str, *, run_key: str, run_name: str, artifact_root: str | None, parent: str | None = None
) -> Run:
    """The run with this key: continued if it was begun, as it is if finished, new otherwise; nested in a `parent`.

    A new experiment keeps its artifacts where the tracking server says, else under `artifact_root` (a folder or
    s3://...).
    """
    _deliver_once.cache_clear()
    client = connect()
    with mlflow_errors("open a run"):
        experiment_id = _experiment(client, experiment, artifact_root)
        if not (runs := _runs(client, experiment_id, run_key)):
            nested = {PARENT: parent} if parent else {}
            client.create_run(experiment_id, run_name=run_name, tags={RUN_KEY: run_key, **nested})
            runs = _runs(client, experiment_id, run_key)
        first, *others = runs
        for other in others:
            set_past_others(client.set_tag, other.info.run_id, DUPLICATE, first.info.run_id)
            client.set_terminated(other.info.run_id, "KILLED")
        opening = uuid.uuid4().hex if first.info.status != "FINISHED" else ""
        if opening:
            set_past_others(client.set_tag, first.info.run_id, OPENING, opening)
    run = _opened(first, opening)
    run.was_finished = not opening
    return run


def attach_run(run_id: str) -> Run:
    """A run that another process opened; MLflow is asked only where it was opened on another machine."""
    run = Run(run_id, _spool())
    if run.journal.exists():
        return run
    with mlflow_errors("find the run"):
        found = client_of(tracking_uri()).get_run(run_id)
    return _opened(found)


def is_running(run_id: str) -> bool:
    """Whether MLflow was not told yet that the run ended; a run that was deleted is at no work."""
    from mlflow.exceptions import MlflowException

    client = connect()
    with mlflow_errors("look at the run"):
        try:
            return bool(client.get_run(run_id).info.status == "RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False


def connect() -> "MlflowClient":
    """A client for MLFLOW_TRACKING_URI; what earlier commands left is delivered first, once a process."""
    _deliver_once(_spool(), tracking_uri())
    return client_of(tracking_uri())


@cache
def _deliver_once(spool: Path, uri: str) -> None:
    deliver_all(spool, uri, without_user(uri))


def waiting() -> dict[Path, int]:
    """Journals that MLflow does not have the whole of: folder -> entries that wait."""
    counts = {journal.folder: sum(1 for _ in journal.waiting()) for journal in journals(_spool())}
    return {folder: count for folder, count in counts.items() if count}


def _spool() -> Path:
    """Where the journals of this machine are; the one place of this room that asks the settings."""
    return load_settings().home / "spool"


def _opened(found: "MlflowRun", opening: str = "") -> Run:
    """The run, with what MLflow knows of it in its journal: from here on nobody has to ask. `opening`: it goes on."""
    run = Run(found.info.run_id, _spool())
    tags = {name: value for name, value in found.data.tags.items() if not name.startswith("mlflow.")}
    run.open(
        steps={metric.key: metric.step for metric in found.data.to_proto().metrics},
        tags=tags | {OPENING: opening},
        go_on=bool(opening),
    )
    return run


def _experiment(client: "MlflowClient", name: str, artifact_root: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            ours = artifact_root and not _has_own_place(client)
            location = f"{artifact_root}/{mlflow_name(name)}" if ours else None
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:  # another process was first, or our own answer got lost
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or (found := client.get_experiment_by_name(name)) is None:
                raise
    if found.lifecycle_stage == "deleted":
        restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        uri = shlex.quote(tracking_uri())  # MLflow's own commands do not look into DPO_HOME
        do = f"`MLFLOW_TRACKING_URI={uri} {restore}`, or use another name"
        raise InfraError(f"experiment {name!r} is deleted", where=without_secrets(client.tracking_uri), do=do)
    return str(found.experiment_id)


def _has_own_place(client: "MlflowClient") -> bool:
    """Whether the tracking server keeps artifacts itself (--artifacts-destination), or names a place that all reach.

    Its first experiment tells; a plain path there is a folder of the server's machine, which nobody else reaches.
    """
    from mlflow.exceptions import MlflowException

    if not client.tracking_uri.startswith("http"):
        return False
    try:
        place = client.get_experiment("0").artifact_location
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return urlsplit(place).scheme not in ("", "file")


def _runs(client: "MlflowClient", experiment_id: str, run_key: str) -> list["MlflowRun"]:
    """Runs with this key, oldest first, without those marked as duplicates."""
    found = client.search_runs([experiment_id], f"tags.`{RUN_KEY}` = '{run_key}'")
    runs = [run for run in found if DUPLICATE not in run.data.tags]
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))

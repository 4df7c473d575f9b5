"""MLflow runs, by run id everywhere: the active run is thread-local, and Prefect runs tasks in threads.

MLflow's writes are at-least-once (a lost answer leaves a second row), so a run carries its key as a tag, is searched
before it is created, and duplicates are set aside.
"""

import functools
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from infra.errors import InfraError
from infra.settings import without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_KEY = "dpo.run_key"
DUPLICATE = "dpo.duplicate_of"
PARAM_LIMIT = 6000  # characters
BATCH = 100  # params a request; metrics go ten times as many
DIGEST_LIMIT = 36  # characters of a data set's digest: SHA-256 hex does not fit


class Run:
    """One MLflow run. Every failure is an InfraError: whether it ends the work is the caller's choice."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client = client
        self.id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Log nested values under dotted names. Over-long values are cut: log the whole as an artifact too."""
        from mlflow.entities import Param

        params = [Param(_name(key), value[:PARAM_LIMIT]) for key, value in _flatten(values)]
        with mlflow_errors("log params"):
            for start in range(0, len(params), BATCH):
                self._client.log_batch(self.id, params=params[start : start + BATCH])

    def tags(self, values: Mapping[str, object]) -> None:
        """Set tags, replacing older values."""
        from mlflow.entities import RunTag

        with mlflow_errors("set tags"):
            self._client.log_batch(self.id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def tag(self, name: str) -> str | None:
        """One tag of the run, or None."""
        with mlflow_errors("read a tag"):
            value: str | None = self._client.get_run(self.id).data.tags.get(name)
        return value

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log one value per name at `step` (optimizer steps). Refuses NaN and infinity, by name."""
        from mlflow.entities import Metric

        for name, value in values.items():
            if not math.isfinite(value):
                raise InfraError(
                    f"metric {name} is {value}", where=f"MLflow run {self.id}", do="find out why; log finite values"
                )
        now = int(time.time() * 1000)
        points = [Metric(_name(name), float(value), now, step or 0) for name, value in values.items()]
        with mlflow_errors("log metrics"):
            for start in range(0, len(points), 10 * BATCH):
                self._client.log_batch(self.id, metrics=points[start : start + 10 * BATCH])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Upload a file (or a folder's files) into the run's artifacts, below `folder`."""
        with mlflow_errors("upload an artifact"):
            if path.is_dir():
                self._client.log_artifacts(self.id, str(path), folder)
            else:
                self._client.log_artifact(self.id, str(path), folder)

    def json(self, name: str, value: object) -> None:
        """Upload `value` as the JSON artifact `name`."""
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        with mlflow_errors("upload an artifact"):
            self._client.log_text(self.id, text, name)

    def dataset(
        self,
        *,
        name: str,
        sha256: str,
        source: str,
        context: Literal["training", "evaluation"] = "training",
        rows: int | None = None,
    ) -> None:
        """Link the data set to the run. MLflow's own digest reads a part of the rows only; ours is `sha256`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(
            name=name,
            digest=sha256[: DIGEST_LIMIT - 4],
            source_type="local" if "://" not in source else source.partition("://")[0],
            source=json.dumps({"uri": without_secrets(source)}),
            profile=json.dumps({} if rows is None else {"num_rows": rows}),
        )
        tags = [InputTag("mlflow.data.context", context), InputTag("sha256", sha256)]
        with mlflow_errors("link a data set"):
            self._client.log_inputs(self.id, [DatasetInput(data, tags)])
        self.tags({f"dataset.{context}.sha256": sha256})

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """End the run with this status."""
        with mlflow_errors("end the run"):
            self._client.set_terminated(self.id, status)

    def url(self) -> str:
        """Where a person finds the run: its page on a server, else the command that shows it."""
        uri = without_secrets(self._client.tracking_uri)
        if not uri.startswith("http"):
            return f"mlflow ui --backend-store-uri {uri}  (run {self.id})"
        with mlflow_errors("look up the run"):
            experiment = self._client.get_run(self.id).info.experiment_id
        return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{self.id}"


def open_run(experiment: str, *, run_key: str, run_name: str, artifact_root: str | None) -> Run:
    """The run with this key: continued if it was begun, as it is if finished, new otherwise.

    A new experiment keeps its artifacts under `artifact_root` (a folder or s3://...; None: as the server likes).
    """
    client = connect()
    with mlflow_errors("open a run"):
        experiment_id = _experiment(client, experiment, artifact_root)
        if not (runs := _runs(client, experiment_id, run_key)):
            client.create_run(experiment_id, run_name=run_name, tags={RUN_KEY: run_key})
            runs = _runs(client, experiment_id, run_key)
        first, *others = runs
        for other in others:
            client.set_tag(other.info.run_id, DUPLICATE, first.info.run_id)
            client.set_terminated(other.info.run_id, "KILLED")
        if first.info.status != "FINISHED":
            client.update_run(first.info.run_id, status="RUNNING")
    return Run(client, first.info.run_id)


def attach_run(run_id: str) -> Run:
    """A run that another process opened."""
    client = connect()
    with mlflow_errors("find the run"):
        client.get_run(run_id)
    return Run(client, run_id)


def connect() -> "MlflowClient":
    """A client for MLFLOW_TRACKING_URI."""
    import mlflow

    return _client(mlflow.get_tracking_uri())


@functools.cache
def _client(uri: str) -> "MlflowClient":
    """The tables of a new SQLite file are made by one process at a time: of three together, two would fail."""
    from filelock import FileLock
    from mlflow import MlflowClient

    with mlflow_errors("connect"):
        if not uri.startswith("sqlite:///"):
            return MlflowClient(uri)
        database = Path(uri.removeprefix("sqlite:///"))
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{database}.lock", timeout=120):
            return MlflowClient(uri)


@contextmanager
def mlflow_errors(doing: str) -> Iterator[None]:
    """Turn what MLflow, its database and its artifact store throw into an InfraError."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow import get_tracking_uri
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, Boto3Error, BotoCoreError, ClientError) as error:
        reason = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
        says = f"MLflow could not {doing}: {reason[0][:500]}"
        do = "check that the tracking server is up and MLFLOW_TRACKING_URI right, then run the same command again"
        raise InfraError(says, where=without_secrets(get_tracking_uri()), do=do) from error


def _experiment(client: "MlflowClient", name: str, artifact_root: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(
                client.create_experiment(name, artifact_location=artifact_root and f"{artifact_root}/{_name(name)}")
            )
        except MlflowException as error:  # another process was first, or our own answer got lost
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or (found := client.get_experiment_by_name(name)) is None:
                raise
    if found.lifecycle_stage == "deleted":
        do = f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or use another name"
        raise InfraError(f"experiment {name!r} is deleted", where=without_secrets(client.tracking_uri), do=do)
    return str(found.experiment_id)


def _runs(client: "MlflowClient", experiment_id: str, run_key: str) -> list[Any]:
    """Runs with this key, oldest first, without those set aside as duplicates."""
    found = client.search_runs([experiment_id], f"tags.`{RUN_KEY}` = '{run_key}'")
    runs = [run for run in found if DUPLICATE not in run.data.tags]
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


def _name(text: str) -> str:
    """`text` with only the characters that MLflow takes in a name."""
    return re.sub(r"[^\w\-./: ]", "_", text)

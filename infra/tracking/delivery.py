"""From journals to MLflow, in order, each entry once.

An entry whose answer got lost, or whose sender was killed, is sent again. That changes nothing: MLflow keeps one point
of the same key, value, time and step; params, tags, inputs and artifacts replace themselves.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from infra.errors import InfraError, Rejected
from infra.store.base import digest
from infra.tracking.client import client_of, mlflow_errors, single_tries
from infra.tracking.entries import (
    ArtifactEntry,
    DatasetEntry,
    JournalEntry,
    MetricsEntry,
    ParamsEntry,
    StatusEntry,
    TagsEntry,
)
from infra.tracking.journal import Journal, WaitingEntry, journals

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

log = logging.getLogger("dpo.tracking")
POINTS = 1000  # metric points a request: MLflow's limit
WEEK_S = 7 * 86400
OPENING = "dpo.opening"  # tag of a run: which of the times it was opened, here or elsewhere, was the last
RETRY_S = 15  # after MLflow was away it is left alone for so long
LOCK_S = 30  # as long as another process delivers, one waits for it at most
DOING = {
    "params": "log params",
    "metrics": "log metrics",
    "tags": "set tags",
    "artifact": "upload an artifact",
    "dataset": "link a data set",
    "status": "set the run's status",
}
_retry_at: dict[str, float] = {}  # tracking server -> when to try again, by the monotonic clock


def deliver(journal: Journal, uri: str) -> None:
    """Send everything that waits.

    Raises InfraError where that is not possible now: what is left waits on. Raises Rejected at the end, where MLflow
    rejects an entry: it is kept in `refused/`, and does not hold up the others.
    """
    count, rejected = 0, None
    last: JournalEntry | None = None
    with suppress(Timeout), journal.delivering().acquire(timeout=LOCK_S), single_tries():
        for batch in _batches(journal.waiting()):
            try:
                _send(client_of(uri), journal, [item.entry for item in batch])
            except Rejected as error:
                rejected = error
                _keep(journal, batch, error)
            journal.mark(batch[-1].end)
            count, last = count + len(batch), batch[-1].entry
        if last is not None and last.kind != "metrics":
            journal.tidy(ended=isinstance(last, StatusEntry) and last.is_end)
    if _retry_at.pop(uri, None) is not None:
        log.warning("mlflow_back delivered=%d", count)
    if rejected is not None:
        raise rejected


def try_to_deliver(journal: Journal, uri: str, *, at_once: bool = False) -> None:
    """Send what waits, unless MLflow was away a moment ago; `at_once`: then too.

    What cannot be sent stays, at the price of one warning. Raises Rejected.
    """
    if time.monotonic() < _retry_at.get(uri, 0.0) and not at_once:
        return
    try:
        deliver(journal, uri)
    except Rejected:
        raise
    except InfraError as error:
        if uri not in _retry_at:
            says = "mlflow_away reason=%r kept=%s action=%r"
            action = "the run goes on, and what it logs is delivered later, in order"
            log.warning(says, error.says, journal.folder, action)
        _retry_at[uri] = time.monotonic() + RETRY_S


def deliver_all(spool: Path, uri: str, server: str) -> None:
    """Send what earlier commands left for this server, and remove what is done with. Nothing is raised."""
    for journal in journals(spool):
        logged = journal.logged()
        ours = logged.server in ("", server)
        if ours and next(journal.waiting(), None) is not None:
            with suppress(Rejected):  # a warning has said so
                try_to_deliver(journal, uri)
            continue
        opening = logged.tags.get(OPENING, "")
        if logged.ended or (_is_abandoned(journal, opening, uri) if ours else journal.idle_s() > WEEK_S):
            journal.tidy(ended=True)


def _is_abandoned(journal: Journal, opening: str, uri: str) -> bool:
    """Whether nobody here works on the run, or has logged to it for a week. MLflow is told that it was killed.

    Not if another machine opened it since, or logs to it. False also where MLflow cannot be asked now.
    """
    if journal.idle_s() <= WEEK_S:
        return False
    delivering, working = journal.delivering(), journal.working()
    try:
        with delivering.acquire(timeout=LOCK_S), working, single_tries(), mlflow_errors("end a run"):
            run, ended = client_of(uri).get_run(journal.run_id), time.time() - journal.idle_s()
            logged = max((metric.timestamp / 1000 for metric in run.data.to_proto().metrics), default=0.0)
            ours = bool(opening) and run.data.tags.get(OPENING) == opening
            if run.info.status == "RUNNING" and ours and time.time() - max(ended, logged) > WEEK_S:
                client_of(uri).set_terminated(journal.run_id, "KILLED", round(ended * 1000))
                log.info("run_killed run=%s", journal.run_id)
    except Rejected:  # MLflow has no such run
        return True
    except (InfraError, Timeout):
        return False
    return time.time() - ended > WEEK_S


def _batches(waiting: Iterable[WaitingEntry]) -> Iterator[list[WaitingEntry]]:
    """Entries that go together: metrics up to POINTS, anything else by itself."""
    batch: list[WaitingEntry] = []
    points = 0
    for item in waiting:
        size = len(item.entry.values) if isinstance(item.entry, MetricsEntry) else POINTS
        if batch and points + size > POINTS:
            yield batch
            batch, points = [], 0
        batch.append(item)
        points += size
    if batch:
        yield batch


def _send(client: "MlflowClient", journal: Journal, entries: Sequence[JournalEntry]) -> None:
    """One entry, or many metrics."""
    from mlflow.entities import Metric, RunTag

    run, entry = journal.run_id, entries[0]
    with mlflow_errors(DOING.get(entry.kind, "take an entry")):
        if isinstance(entry, MetricsEntry):
            client.log_batch(run, metrics=[Metric(*point) for point in _points(entries)])
        elif isinstance(entry, ParamsEntry):
            _send_params(client, run, entry.values)
        elif isinstance(entry, TagsEntry):
            client.log_batch(run, tags=[RunTag(name, value) for name, value in entry.values.items()])
        elif isinstance(entry, DatasetEntry):
            client.log_inputs(run, [_dataset(entry)])
        elif isinstance(entry, ArtifactEntry):
            client.log_artifact(run, str(_whole(journal, entry)), entry.folder or None)
        elif isinstance(entry, StatusEntry) and entry.is_end:
            client.set_terminated(run, entry.status, entry.time)
        elif isinstance(entry, StatusEntry):
            client.update_run(run, status=entry.status)


def _send_params(client: "MlflowClient", run: str, values: Mapping[str, str]) -> None:
    """MLflow keeps a param's first value: where that is another a warning says so, and the rest are sent."""
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    try:
        client.log_batch(run, params=[Param(*item) for item in values.items()])
    except MlflowException as error:
        there = client.get_run(run).data.params if error.error_code == "INVALID_PARAMETER_VALUE" else {}
        if not (kept := {name for name in values if there.get(name, values[name]) != values[name]}):
            raise
        client.log_batch(run, params=[Param(*item) for item in values.items() if item[0] not in kept])
        log.warning("mlflow_params_kept run=%s params=%s action='as they were logged first'", run, sorted(kept))


def _points(entries: Iterable[JournalEntry]) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, time and step of every point."""
    for entry in entries:
        if isinstance(entry, MetricsEntry):
            yield from ((name, value, entry.time, entry.step) for name, value in entry.values.items())


def _dataset(entry: DatasetEntry) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**entry.values), [InputTag(name, value) for name, value in entry.tags.items()])


def _whole(journal: Journal, entry: ArtifactEntry) -> Path:
    path = journal.file(entry)
    if not path.is_file() or digest(path) != entry.sha256:
        says, do = "a file that waits for MLflow is gone or damaged", "run the same command again: it is made again"
        raise Rejected(says, where=str(path), do=do)
    return path


def _keep(journal: Journal, batch: Iterable[WaitingEntry], error: Rejected) -> None:
    path = [journal.keep_rejected(item.entry) for item in batch][-1]
    log.warning("mlflow_refused run=%s kept=%s reason=%r", journal.run_id, path, error.says)

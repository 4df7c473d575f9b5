"""From journals to MLflow, in order, each entry once.

An entry whose answer got lost, or whose sender was killed, is sent again. That changes nothing: MLflow keeps one point
of the same key, value, time and step; params, tags, inputs and artifacts replace themselves.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from infra.errors import InfraError, Refused
from infra.store.base import digest
from infra.tracking.client import client_of, mlflow_errors, single_tries
from infra.tracking.journal import ENDS, Entry, Journal, Waiting, journals

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

log = logging.getLogger("dpo.tracking")
POINTS = 1000  # metric points a request: MLflow's limit
WEEK_S = 7 * 86400
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
_away: dict[str, float] = {}  # tracking server -> when to try again, by the monotonic clock


def deliver(journal: Journal, uri: str) -> None:
    """Send everything that waits.

    Raises InfraError where that is not possible now: what is left waits on. Raises Refused at the end, where MLflow
    will not take an entry: it is set aside, and does not hold up the others.
    """
    count, entry, refused = 0, Entry(), None
    with suppress(Timeout), journal.delivering().acquire(timeout=LOCK_S), single_tries():
        for batch in _batches(journal.waiting()):
            try:
                _send(client_of(uri), journal, [item.entry for item in batch])
            except Refused as error:
                refused = error
                _set_aside(journal, batch, error)
            journal.mark(batch[-1].end)
            count, entry = count + len(batch), batch[-1].entry
        if entry and entry["kind"] != "metrics":
            journal.tidy(ended=entry.get("status") in ENDS)
    if _away.pop(uri, None) is not None:
        log.warning("mlflow_back delivered=%d", count)
    if refused is not None:
        raise refused


def try_to_deliver(journal: Journal, uri: str, *, at_once: bool = False) -> None:
    """Send what waits, unless MLflow was away a moment ago; `at_once`: then too.

    What cannot be sent stays, at the price of one warning. Raises Refused.
    """
    if time.monotonic() < _away.get(uri, 0.0) and not at_once:
        return
    try:
        deliver(journal, uri)
    except Refused:
        raise
    except InfraError as error:
        if uri not in _away:
            says = "mlflow_away reason=%r kept=%s action=the run goes on, and what it logs is delivered later, in order"
            log.warning(says, error.says, journal.folder)
        _away[uri] = time.monotonic() + RETRY_S


def deliver_all(spool: Path, uri: str, server: str) -> None:
    """Send what earlier commands left for this server, and remove what is done with. Nothing is raised."""
    for journal in journals(spool):
        told = journal.told()
        if told.server in ("", server) and next(journal.waiting(), None) is not None:
            with suppress(Refused):  # told already
                try_to_deliver(journal, uri)
        elif told.ended or journal.idle_s() > WEEK_S:
            journal.tidy(ended=True)


def _batches(waiting: Iterable[Waiting]) -> Iterator[list[Waiting]]:
    """Entries that go together: metrics up to POINTS, anything else by itself."""
    batch: list[Waiting] = []
    points = 0
    for item in waiting:
        size = len(item.entry["values"]) if item.entry["kind"] == "metrics" else POINTS
        if batch and points + size > POINTS:
            yield batch
            batch, points = [], 0
        batch.append(item)
        points += size
    if batch:
        yield batch


def _send(client: "MlflowClient", journal: Journal, entries: list[Entry]) -> None:
    """One entry, or many metrics."""
    from mlflow.entities import Metric, Param, RunTag

    run, kind, entry = journal.run_id, entries[0]["kind"], entries[0]
    with mlflow_errors(DOING.get(kind, "take an entry")):
        if kind == "metrics":
            points = [Metric(name, value, e["time"], e["step"]) for e in entries for name, value in e["values"].items()]
            client.log_batch(run, metrics=points)
        elif kind == "params":
            client.log_batch(run, params=[Param(name, value) for name, value in entry["values"].items()])
        elif kind == "tags":
            client.log_batch(run, tags=[RunTag(name, value) for name, value in entry["values"].items()])
        elif kind == "dataset":
            client.log_inputs(run, [_dataset(entry)])
        elif kind == "artifact":
            client.log_artifact(run, str(_whole(journal, entry)), entry["folder"] or None)
        elif kind == "status" and entry["status"] in ENDS:
            client.set_terminated(run, entry["status"], entry["time"])
        elif kind == "status":
            client.update_run(run, status=entry["status"])


def _dataset(entry: Entry) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag(name, value) for name, value in entry["tags"].items()]
    return DatasetInput(Dataset(**entry["values"]), tags)


def _whole(journal: Journal, entry: Entry) -> Path:
    path = journal.file(entry)
    if not path.is_file() or digest(path) != entry["sha256"]:
        says, do = "a file that waits for MLflow is gone or damaged", "run the same command again: it is made again"
        raise Refused(says, where=str(path), do=do)
    return path


def _set_aside(journal: Journal, batch: list[Waiting], error: Refused) -> None:
    path = [journal.set_aside(item.entry) for item in batch][-1]
    log.warning("mlflow_refused run=%s kept=%s reason=%s", journal.run_id, path, error.says)

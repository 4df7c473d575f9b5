"""One MLflow run: what the stages log is on this machine's disk at once, and in MLflow as soon as it answers."""

import json
import logging
import math
import re
import shlex
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from filelock import Timeout

from infra.errors import InfraError, Unavailable
from infra.secrets import without_secrets, without_user
from infra.store.base import digest
from infra.store.retry import retry_unavailable
from infra.tracking.client import client_of, mlflow_errors, tracking_uri
from infra.tracking.delivery import deliver, try_to_deliver
from infra.tracking.entries import (
    ArtifactEntry,
    DatasetEntry,
    EndStatus,
    JournalEntry,
    MetricsEntry,
    OpenedEntry,
    ParamsEntry,
    StatusEntry,
    TagsEntry,
)
from infra.tracking.journal import Journal, LoggedState

log = logging.getLogger("dpo.tracking")
PARAM_LIMIT = 6000  # characters
DIGEST_LIMIT = 36  # characters of a data set's digest: SHA-256 hex does not fit
EVERY_S = 1.0  # how often what a training logs is delivered


class Run:
    """One MLflow run. Every failure is an InfraError; MLflow's absence is none, except where its answer is needed."""

    def __init__(self, run_id: str, spool: Path) -> None:
        self.id = run_id
        self.journal = Journal(spool, run_id)
        self.was_finished = False  # when it was opened
        self._in_background = False

    @cached_property
    def _logged(self) -> LoggedState:
        return self.journal.logged()

    def open(self, *, steps: Mapping[str, int], tags: Mapping[str, str], go_on: bool) -> None:
        """Record what MLflow knows: the last step of each metric, the tags; with `go_on` the run is running again."""
        server = without_user(tracking_uri())
        self.journal.append(OpenedEntry(time=_now_ms(), server=server, steps=dict(steps), tags=dict(tags)))
        if go_on:
            self._log(StatusEntry(time=_now_ms(), status="RUNNING"))

    def params(self, values: Mapping[str, object]) -> None:
        """Log nested values under dotted names. Over-long values are cut: log the whole as an artifact too."""
        texts = {mlflow_name(key): without_secrets(value)[:PARAM_LIMIT] for key, value in _flatten(values)}
        self._log(ParamsEntry(time=_now_ms(), values=texts))

    def tags(self, values: Mapping[str, object]) -> None:
        """Set tags, replacing older values."""
        texts = {key: without_secrets(str(value)) for key, value in values.items()}
        self._log(TagsEntry(time=_now_ms(), values=texts))
        self._logged.tags |= texts

    def tag(self, name: str) -> str | None:
        """One tag of the run, as it was when it was opened or has been set since; or None."""
        return self._logged.tags.get(name)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log one value per name at `step` (optimizer steps). Refuses NaN and infinity, by name.

        Steps of a metric only grow: one that a run has, which goes on from a checkpoint, is not logged again.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise InfraError(
                    f"metric {name} is {value}", where=f"MLflow run {self.id}", do="find out why; log finite values"
                )
        points = {mlflow_name(name): float(value) for name, value in values.items()}
        fresh = {name: value for name, value in points.items() if self._logged.steps.get(name, -1) < step}
        if fresh:
            self._log(MetricsEntry(time=_now_ms(), values=fresh, step=step))
            self._logged.steps |= dict.fromkeys(fresh, step)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Upload a file (or a folder's files) into the run's artifacts, below `folder`."""
        root = path if path.is_dir() else path.parent
        for file in sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]:
            below = "/".join(part for part in (folder, *file.parent.relative_to(root).parts) if part)
            self._log(ArtifactEntry(time=_now_ms(), sha256=digest(file), name=file.name, folder=below), file)

    def json(self, name: str, value: object) -> None:
        """Upload `value` as the JSON artifact `name`."""
        text = without_secrets(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_text(text, encoding="utf-8")
            self.artifact(path)

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
        values = {
            "name": name,
            "digest": sha256[: DIGEST_LIMIT - 4],
            "source_type": "local" if "://" not in source else source.partition("://")[0],
            "source": json.dumps({"uri": without_secrets(source)}),
            "profile": json.dumps({} if rows is None else {"num_rows": rows}),
        }
        tags = {"mlflow.data.context": context, "sha256": sha256}
        self._log(DatasetEntry(time=_now_ms(), values=values, tags=tags))
        self.tags({f"dataset.{context}.sha256": sha256})

    def finish(self, status: EndStatus) -> None:
        """End the run with this status. What MLflow does not have by then waits for the next command."""
        self.journal.append(StatusEntry(time=_now_ms(), status=status))
        try_to_deliver(self.journal, tracking_uri(), at_once=True)
        if waits := sum(1 for _ in self.journal.waiting()):
            action = "delivered by the next command that reaches MLflow"
            log.warning("mlflow_waiting entries=%d kept=%s action=%r", waits, self.journal.folder, action)

    def url(self) -> str:
        """Where a person finds the run: its page on a server, else the command that shows it."""
        client = client_of(tracking_uri())
        uri = without_secrets(client.tracking_uri)
        if not uri.startswith("http"):
            return f"mlflow ui --backend-store-uri {shlex.quote(uri)}  (run {self.id})"
        with mlflow_errors("look up the run"):
            experiment = client.get_run(self.id).info.experiment_id
        return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{self.id}"

    def settle(self, patience_s: float) -> None:
        """Return when MLflow has everything. Raises InfraError if it cannot, Unavailable after `patience_s` seconds."""
        try:
            retry_unavailable(self._deliver_all, patience_s, f"MLflow at {without_secrets(tracking_uri())}")
        except InfraError as error:
            waits = sum(1 for _ in self.journal.waiting())
            says = f"{error.says} ({waits} entries wait in {self.journal.folder})"
            raise type(error)(says, where=error.where, do=f"{error.do}: it delivers them and goes on") from error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Inside it the run is not abandoned, however long nothing is logged. Of several processes one is enough."""
        with ExitStack() as held:
            with suppress(Timeout):
                held.enter_context(self.journal.working())
            yield

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Inside it nobody waits for MLflow: a thread delivers what is logged, every second."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(EVERY_S):
                self._deliver_quietly()

        thread = threading.Thread(target=work, name="mlflow", daemon=True)
        self._in_background = True
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._in_background = False
            self._deliver_quietly()

    def _log(self, entry: JournalEntry, file: Path | None = None) -> None:
        self.journal.append(entry, file)
        if not self._in_background:
            try_to_deliver(self.journal, tracking_uri())

    def _deliver_all(self) -> None:
        deliver(self.journal, tracking_uri())
        if next(self.journal.waiting(), None) is not None:
            do = "wait for it, then run the same command again"
            raise Unavailable("another process delivers to MLflow", where=str(self.journal.folder), do=do)

    def _deliver_quietly(self) -> None:
        try:
            try_to_deliver(self.journal, tracking_uri())
        except Exception as error:  # whatever MLflow's client throws: training goes on
            log.warning("mlflow_not_logged run=%s reason=%r", self.id, getattr(error, "says", type(error).__name__))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


def mlflow_name(text: str) -> str:
    """`text` with only the characters that MLflow takes in a name."""
    return re.sub(r"[^\w\-./: ]", "_", text)

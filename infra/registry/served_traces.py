"""What a served version tells MLflow of its answers: one trace each, sent behind the answers, never in their way.

It is stored beside `served_model.py` and runs where this package is not installed. MLflow's own queue is not used: it
keeps a program that ends while the server is away, a quarter of a minute an answer (488 s for 30, as measured).
"""

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mlflow
import yaml
from mlflow.entities import NoOpSpan
from mlflow.environment_variables import MLFLOW_TRACE_SAMPLING_RATIO
from mlflow.exceptions import MlflowException

REGISTERED = "registered_model_meta"  # file that MLflow writes beside a version that it downloads
WAITING = 500  # answers that wait to be sent; the next ones leave no trace
PAUSES_S = (1.0, 60.0)  # between two looks for the experiment: at first, at most, and once it was found
LAST_S = 5.0  # for what waits when the process ends
log = logging.getLogger("dpo.traces")


class Traces:
    """Answers on their way to MLflow, into the experiment `NAME served`.

    Nothing is recorded where no tracking URI is set, nor with MLFLOW_TRACE_SAMPLING_RATIO=0 or `traces: false` in the
    version's model_config. Until the server has answered once, answers leave no trace.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """`folder` is where the version's files lie; `config` its model_config: traces, name, weights_sha256."""
        name, version = _registered(folder)
        name = name or config.get("name") or ""
        self._tags = {
            "dpo.model": name,
            "dpo.version": version,
            "dpo.weights_sha256": config.get("weights_sha256") or "",
        }
        self._experiment: str | None = None
        self._waiting: queue.Queue[tuple[Any, int]] = queue.Queue(WAITING)
        if name and config.get("traces", True) and _is_wanted():
            os.environ.setdefault("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")  # the queue here is instead of MLflow's
            threading.Thread(target=self._send, args=(f"{name} served",), name="dpo-traces", daemon=True).start()
            atexit.register(self._finish)

    def record(self, inputs: Mapping[str, object], outputs: Mapping[str, object], began_ns: int) -> str:
        """The id of the trace that this answer will have; empty where it has none. It neither waits nor raises."""
        if self._experiment is None:
            return ""
        try:
            span: Any = mlflow.start_span_no_context(
                "answer",
                span_type="CHAT_MODEL",
                inputs=inputs,
                attributes={"mlflow.message.format": "openai"},  # so that MLflow's page shows a chat
                tags=self._tags,
                experiment_id=self._experiment,
                start_time_ns=began_ns,
            )
            if isinstance(span, NoOpSpan):  # not in the sample, or tracing is disabled
                return ""
            span.set_outputs(outputs)
            self._waiting.put_nowait((span, time.time_ns()))
            return str(span.trace_id)
        except Exception as error:
            log.debug("trace_lost reason=%r", error)
            return ""

    def _send(self, experiment: str) -> None:
        self._find(experiment)
        looked = time.monotonic()
        while True:
            span, ended_ns = self._waiting.get()
            try:
                if time.monotonic() - looked >= PAUSES_S[1]:
                    if _is_gone(str(self._experiment)):
                        self._experiment = None
                        self._find(experiment)
                    looked = time.monotonic()
                span.end(end_time_ns=ended_ns)  # sends it; MLflow tells nobody that an experiment takes no traces
            except Exception as error:
                log.warning("trace_lost trace=%s reason=%.300s", span.trace_id, error)
            finally:
                self._waiting.task_done()

    def _find(self, experiment: str) -> None:
        """Return once it is there; the same reason is told once."""
        (pause, most), told = PAUSES_S, ""
        while self._experiment is None:
            try:
                self._experiment = _experiment_id(experiment)
            except Exception as error:
                if (reason := f"{error}"[:300]) != told:
                    log.warning("traces_wait experiment=%r retry_s=%g reason=%s", experiment, pause, reason)
                told = reason
                time.sleep(pause)
                pause = min(2 * pause, most)

    def _finish(self) -> None:
        end = time.monotonic() + LAST_S
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.05)


def _is_wanted() -> bool:
    """Whether the environment names a server for traces, and does not put all of them out of the sample."""
    place, sample = cast(Any, mlflow), cast(Any, MLFLOW_TRACE_SAMPLING_RATIO)
    return bool(place.is_tracking_uri_set() and sample.get())


def _registered(folder: Path) -> tuple[str, str]:
    """Name and number of the version whose files these are; empty where no registry was asked for them."""
    file = folder / REGISTERED
    said = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return str(said.get("model_name") or ""), str(said.get("model_version") or "")


def _experiment_id(name: str) -> str:
    """Where MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID says, else the experiment of that name; made if missing.

    Raises RuntimeError for a deleted one: MLflow finds it, and takes no traces for it.
    """
    client = mlflow.MlflowClient()
    name, number = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name, os.environ.get("MLFLOW_EXPERIMENT_ID")
    named = "MLFLOW_EXPERIMENT_NAME" in os.environ
    found = client.get_experiment(number) if number and not named else client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage == "deleted":
        do = f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
        raise RuntimeError(f"it is deleted, so answers leave no trace: {do}, or name another by MLFLOW_EXPERIMENT_NAME")
    return str(found.experiment_id)


def _is_gone(experiment: str) -> bool:
    """Whether the server says so; of one that is away nothing is known."""
    try:
        return bool(mlflow.MlflowClient().get_experiment(experiment).lifecycle_stage == "deleted")
    except MlflowException as error:
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")

"""Traces of answers where MLflow takes none: the experiment is deleted."""

import time

import mlflow
import pytest
from mlflow import MlflowClient

from infra.registry import served_traces
from infra.registry.served_traces import Traces
from tests.served import PATIENCE_S

ASKED = {"messages": [{"role": "user", "content": "Who are you?"}]}


@pytest.fixture
def traces(monkeypatch, tmp_path, request):
    """Of a model, by its name; the experiment is looked for all the while."""
    monkeypatch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "1")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    monkeypatch.setattr(served_traces, "PAUSES_S", (0.01, 0.0))
    monkeypatch.setattr(served_traces, "LAST_S", PATIENCE_S)
    at_the_end = []
    monkeypatch.setattr(served_traces.atexit, "register", at_the_end.append)
    mlflow.tracing.reset()
    yield lambda: Traces(tmp_path, {"name": request.node.name})
    for finish in at_the_end:
        finish()
    mlflow.tracing.reset()


def until(wanted, look):
    """What a look finds, once it finds something, or nothing."""
    end = time.monotonic() + PATIENCE_S
    while bool(found := look()) != wanted:
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def test_answers_leave_no_trace_while_the_experiment_is_deleted(traces, request, caplog):
    client, name = MlflowClient(), f"{request.node.name} served"
    experiment = client.create_experiment(name)
    client.delete_experiment(experiment)
    running = traces()

    def recorded():
        return running.record(ASKED, {}, time.time_ns())

    def is_kept():
        return kept in {trace.info.trace_id for trace in client.search_traces(locations=[experiment])}

    until(True, lambda: "traces_wait" in caplog.text)
    assert recorded() == ""
    client.restore_experiment(experiment)
    kept = until(True, recorded)
    client.delete_experiment(experiment)
    until(False, recorded)
    client.restore_experiment(experiment)
    until(True, is_kept)  # it waited
    assert caplog.text.count(f"mlflow experiments restore --experiment-id {experiment}") == 2  # once each time

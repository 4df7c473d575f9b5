"""The temporary server of a command: what flows send it."""

from types import SimpleNamespace

import pytest
from prefect.flow_engine import BaseFlowRunEngine, FlowRunEngine
from prefect.server.api import server
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra import prefect_server


@pytest.mark.parametrize(("url", "sends"), [(None, False), ("http://127.0.0.1:9/api", True)])
def test_heartbeats_go_to_a_server_that_outlives_the_command_alone(monkeypatch, url, sends):
    """They say that a run is alive; of the thread that sends them each flow waits up to a second at its end."""
    monkeypatch.setattr(BaseFlowRunEngine, "heartbeat_seconds", 180)
    monkeypatch.setattr(server.SubprocessASGIServer, "start", server.SubprocessASGIServer.start)
    monkeypatch.setattr(server, "subprocess", server.subprocess)
    begun = []
    thread = lambda **_: SimpleNamespace(start=lambda: begun.append("server"))  # noqa: E731
    monkeypatch.setattr("infra.prefect_server.threading.Thread", thread)
    with temporary_settings({PREFECT_API_URL: url}):
        prefect_server.start_ephemeral_server()
    assert (FlowRunEngine.heartbeat_seconds is not None) is sends
    assert (begun == []) is sends

"""Prefect's server: the temporary one, so far as it needs our help; runs that are asked of one that stays up."""

import logging
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from infra.secrets import without_secrets

log = logging.getLogger("dpo.prefect")

# Runs "$@" until it ends, is told to, or its stdin closes: whoever holds the other end is gone, however it went.
WATCH = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
trap 'kill $server' TERM INT HUP
{ read -r line <&3; kill $server; } 2>/dev/null &
watch=$!
exec 3<&-
wait $server
wait $server 2>/dev/null
code=$?
kill $watch 2>/dev/null
exit $code
"""


def start_ephemeral_server() -> None:
    """Start the temporary server so that it outlives Ctrl-C, and nothing else; where a server is set, do nothing.

    A terminal sends Ctrl-C to the whole foreground group. In that group the server dies of it first, and the run
    waits a minute for a server that is gone instead of telling it that it was interrupted: it gets a group of its
    own. A run that is killed (-9) cannot stop its server: that one watches a pipe to the run.

    It comes up in a thread while the run's own packages are imported; the first who needs it waits for it. Flows send
    it no heartbeats, which are for a server that outlives them: each flow would wait up to a second for their thread.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return
    from prefect.flow_engine import BaseFlowRunEngine
    from prefect.server.api import server

    BaseFlowRunEngine.heartbeat_seconds = None  # type: ignore[assignment,method-assign]

    def popen(args: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        command = ["sh", "-c", WATCH, "prefect-server", *args]
        return subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, **options)

    shim = SimpleNamespace(Popen=popen, TimeoutExpired=subprocess.TimeoutExpired)
    vars(server)["subprocess"] = shim  # the module uses these two names of it
    start, one_at_a_time = server.SubprocessASGIServer.start, threading.RLock()

    def start_or_wait(self: server.SubprocessASGIServer, timeout: int | None = None) -> None:
        with one_at_a_time:
            start(self, timeout)

    def begin() -> None:
        with suppress(Exception):  # the flow tries once more, and says what is wrong
            server.SubprocessASGIServer().start()

    server.SubprocessASGIServer.start = start_or_wait  # type: ignore[method-assign]
    threading.Thread(target=begin, daemon=True, name="prefect-server").start()


def ask_for_run(deployment: str, parameters: dict[str, object], *, key: str) -> bool:
    """Have a run of `FLOW/NAME` started on the server that is set, once a key; whether there is one now.

    Where no server is set, or it does not have the deployment, nothing happens. No error leaves: it is logged.
    """
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import get_current_settings

    if not get_current_settings().api.url:
        return False
    try:
        run_deployment(
            deployment, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=key, flow_run_name=key
        )
    except ObjectNotFound:
        do = f"`prefect --no-prompt deploy --name {deployment.partition('/')[2]}`"
        log.info('deployment_missing name=%s action="deploy it from the project folder: %s"', deployment, do)
        return False
    except Exception as error:  # whatever it is: who asks has done his work
        said = (deployment, type(error).__name__, without_secrets(str(error)))
        log.warning('deployment_not_run name=%s reason="%s: %s"', *said)
        return False
    log.info("deployment_asked name=%s run=%s", deployment, key)
    return True


def end_suspended_runs(flow: str, which: Callable[[dict[str, object]], bool], *, state: str, message: str) -> int:
    """Cancel those suspended runs of a flow whose parameters `which` takes; how many. `state` is the name of their end.

    A run that has been resumed goes on. Where no server is set nothing happens. No error leaves: it is logged.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.objects import State
    from prefect.settings import get_current_settings
    from prefect.states import Cancelled

    if not get_current_settings().api.url:
        return 0
    ended = 0
    try:
        with get_client(sync_client=True) as client:
            wanted = {"state": {"type": {"any_": ["PAUSED"]}}}
            runs = client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}),
                flow_run_filter=FlowRunFilter.model_validate(wanted),
            )
            for run in (run for run in runs if which(run.parameters)):
                said: State[None] = Cancelled(name=state, message=without_secrets(message))
                # By force: the rules for leaving a pause take every state for a resumption, and refuse a late one.
                client.set_flow_run_state(run.id, said, force=True)
                log.info("suspended_run_ended flow=%s run=%s state=%s", flow, run.name, state)
                ended += 1
    except Exception as error:  # whatever it is: what was decided is recorded
        said_of = (flow, type(error).__name__, without_secrets(str(error)))
        log.warning('suspended_runs_not_ended flow=%s reason="%s: %s"', *said_of)
    return ended

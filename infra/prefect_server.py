"""Prefect's temporary server, so far as it needs our help."""

import subprocess
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

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

    It comes up in a thread while the run's own packages are imported; the first who needs it waits for it.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return
    from prefect.server.api import server

    def popen(args: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        command = ["sh", "-c", WATCH, "prefect-server", *args]
        return subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, **options)

    shim = SimpleNamespace(Popen=popen, TimeoutExpired=subprocess.TimeoutExpired)
    vars(server)["subprocess"] = shim  # the module uses these two names of it
    start, one_at_a_time = server.SubprocessASGIServer.start, threading.RLock()

    def start_or_wait(self: Any, timeout: int | None = None) -> None:
        with one_at_a_time:
            start(self, timeout)

    def begin() -> None:
        with suppress(Exception):  # the flow tries once more, and says what is wrong
            server.SubprocessASGIServer().start()

    server.SubprocessASGIServer.start = start_or_wait  # type: ignore[method-assign]
    threading.Thread(target=begin, daemon=True, name="prefect-server").start()

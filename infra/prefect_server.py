"""Prefect's temporary server, so far as it needs our help."""

import subprocess
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


def live_as_long_as_the_run() -> None:
    """Start the temporary server, when a flow asks for one, so that it outlives Ctrl-C, and nothing else.

    A terminal sends Ctrl-C to the whole foreground group. In that group the server dies of it first, and the run
    waits a minute for a server that is gone instead of telling it that it was interrupted: it gets a group of its
    own. A run that is killed (-9) cannot stop its server: that one watches a pipe to the run.
    """
    from prefect.server.api import server

    def start(args: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        command = ["sh", "-c", WATCH, "prefect-server", *args]
        return subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, **options)

    shim = SimpleNamespace(Popen=start, TimeoutExpired=subprocess.TimeoutExpired)
    vars(server)["subprocess"] = shim  # the module uses these two names of it

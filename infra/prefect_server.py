"""Prefect's temporary server, so far as it needs our help."""

import subprocess
from functools import partial
from types import SimpleNamespace


def outlive_ctrl_c() -> None:
    """Start the temporary server, when a flow asks for one, in a process group of its own.

    A terminal sends Ctrl-C to the whole foreground group. In that group the server dies of it first, and the run
    waits a minute for a server that is gone instead of telling it that it was interrupted.
    """
    from prefect.server.api import server

    in_own_group = partial(subprocess.Popen, process_group=0)
    shim = SimpleNamespace(Popen=in_own_group, TimeoutExpired=subprocess.TimeoutExpired)
    vars(server)["subprocess"] = shim  # the module uses these two names of it

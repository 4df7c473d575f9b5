"""Whole runs: their training processes, servers and commands are forked from one process that has the imports done."""

import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def forked(forkserver):
    """`sys.executable -m` is a fork; a script or `-c` is a real interpreter as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(forkserver.python))
        yield

"""What the suite itself promises, in whichever of its processes a test runs."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import torch

from dpo_core.model.layout import sequence_sums
from infra.settings import load_settings
from tests.forkserver import ROOT
from tests.shapes import SHAPED


def test_a_wrong_shape_fails_where_it_is_given():
    with pytest.raises(Exception, match="Type-check error") as caught:
        sequence_sums(torch.zeros(3), torch.zeros(2, dtype=torch.int64), 1)
    assert type(caught.value).__module__.startswith("jaxtyping")


def test_every_module_that_writes_shapes_has_them_checked():
    modules = [path for path in (ROOT / "dpo_core").rglob("*.py") if "jaxtyping" in path.read_text()]
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in modules]
    assert names
    assert [name for name in names if not any(f"{name}.".startswith(f"{package}.") for package in SHAPED)] == []


def test_each_process_of_tests_has_a_home_of_its_own_and_one_thread():
    assert load_settings().home.name.startswith("dpo-tests-")
    assert os.environ["PREFECT_HOME"].startswith(os.environ["DPO_HOME"])
    assert torch.get_num_threads() == load_settings().num_threads == 1


@pytest.fixture(params=[{"process_group": 0}, {"start_new_session": True}], ids=["group", "session"])
def start(request, tmp_path):
    """Start the program with this interpreter, in a group or in a session of its own."""

    def begin(python, argument, *before):
        environment = {**os.environ, "TOLD": "so", "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [*before, str(python), "-m", "tests.forked_program", argument]
        return subprocess.Popen(command, env=environment, cwd=tmp_path, **pipes, **request.param)

    return begin


@pytest.mark.parametrize("before", [(), ("sh", "-c", 'trap "" INT; exec "$@"', "sh")], ids=["", "deaf"])
def test_a_forked_program_sees_and_ends_as_one_that_was_started(forkserver, start, before):
    found = []
    for python in (sys.executable, forkserver.python):
        process = start(python, "7", *before)
        out, err = process.communicate(timeout=120)
        found.append((process.returncode, err, {**json.loads(out), "pid": None}))
    assert found[0] == found[1]
    assert (found[0][0], found[0][2]["ignores"]) == (7, bool(before))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_kills_a_forked_program_group_leaves_nothing_of_it(forkserver, start, number):
    process = start(forkserver.python, "sleep")
    program = psutil.Process(json.loads(process.stdout.readline())["pid"])
    os.killpg(process.pid, number)
    process.communicate(timeout=120)
    assert process.returncode == -number
    assert psutil.wait_procs([program], timeout=30)[1] == []


def test_ctrl_c_reaches_a_forked_program_once(forkserver, start):
    process = start(forkserver.python, "sleep")
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    assert err.count("KeyboardInterrupt") == 1

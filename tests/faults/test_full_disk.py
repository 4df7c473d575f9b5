"""A disk that runs full at every stage of a run: a real file system of a few dozen MiB that holds DPO_HOME."""

import os
import re
import shutil
import subprocess
import time

import pytest

from tests.faults.life import STAGES
from tests.faults.promises import keep
from tests.faults.runs import as_new, new_place

SIZE_MIB = 96  # a start-up below 32 MiB free is refused before anything is written
BALLAST = "ballast"
SPARE_BYTES = (0, 64 << 10)  # what is left free


@pytest.fixture(scope="module")
def place(tmp_path_factory, forkserver):
    made = new_place(tmp_path_factory.mktemp("full"), forkserver)
    made.weights = made.complete()["weights_sha256"]
    return made


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this process may not mount a file system (needs root)")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk, spare):
    """Take all room but `spare` bytes."""
    with (disk / BALLAST).open("wb") as file:
        while True:
            facts = os.statvfs(disk)
            free = facts.f_bavail * facts.f_frsize - spare
            if free <= 0:
                return
            file.write(bytes(min(free, 1 << 20)))
            file.flush()


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("spare", SPARE_BYTES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_runs_full_ends_the_run_with_a_clear_error_and_with_room_the_same_command_completes(
    place, small_disk, stage, spare, record
):
    home = small_disk / "home"
    shutil.copytree(place.folder / "prefect", home / "prefect")
    everything = {
        "DPO_HOME": home,
        "PREFECT_HOME": home / "prefect",
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
    }
    run = as_new(place, f"{stage}-{spare}", **{name: str(value) for name, value in everything.items()})
    life = run.start()
    while life.stage()[0] != stage:
        assert life.process.poll() is None, life.errors()
        time.sleep(0.002)
    fill(small_disk, spare)
    code = life.wait()
    error = life.document().get("error")
    (small_disk / BALLAST).unlink()
    errors = [f"{error['says']}: {error['where']}".replace(str(small_disk), "DISK")] if error else []
    record(what="disk full", stage=stage, spare_bytes=spare, code=code, ended_in=life.stage()[0], errors=errors)
    if error is not None:
        assert code == 2, error
        assert error["says"].startswith("the disk is full"), error
        assert str(small_disk) in error["where"], error
        assert re.search(r"\d+ KiB free", error["where"]), error
        assert "free space there" in error["do"], error
    document = run.complete()
    keep(run, document, place.weights)

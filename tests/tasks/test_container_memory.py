"""In a container its limit counts, not the machine's memory, whoever asks."""

import pytest

from tasks.commands import doctor
from tasks.preflight.machine import this_machine
from tasks.runtime.workers import memory_facts
from tasks.tune.begin import room_for

MIB = 1 << 20


@pytest.fixture(autouse=True)
def container(tmp_path, monkeypatch):
    """512 MiB, of which 410 are in use."""
    given = {"memory.max": 512 * MIB, "memory.current": 410 * MIB, "memory.stat": "inactive_file 0"}
    for name, text in given.items():
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr("dpo_core.memory.CGROUP", tmp_path)


def test_the_machine_of_an_estimate_is_the_container(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert this_machine().available <= 102 * MIB
    assert this_machine().total == 512 * MIB


def test_what_is_told_of_a_process_that_was_killed_is_the_containers_memory():
    assert memory_facts(1).startswith("0.1 of 0.5 GiB of memory are free now")


def test_a_search_trains_as_many_side_by_side_as_the_container_has_room_for(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("tasks.tune.begin.usable_cores", lambda: 64)
    assert room_for(1) == 1


def test_doctor_tells_what_the_container_has_left():
    told = [found for found in doctor.examine() if found.check == "memory"]
    assert [(found.status, found.says) for found in told] == [("warn", "0.1 GiB free")]

"""Memory within a container: its limit, less what is in use, where that is less than the machine's."""

from types import SimpleNamespace

import pytest

from dpo_core.memory import usable_memory

GIB = 1 << 30


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A machine with 40 of 64 GiB free, and a container on it with this limit, use, and files that could go (GiB)."""
    machine = SimpleNamespace(available=40 * GIB, total=64 * GIB)
    monkeypatch.setattr("dpo_core.memory.psutil.virtual_memory", lambda: machine)
    monkeypatch.setattr("dpo_core.memory.CGROUP", tmp_path)

    def of(limit, used, files):
        stat = f"anon 1\ninactive_file {files * GIB}"
        given = {"memory.max": limit, "memory.current": used * GIB, "memory.stat": stat}
        for name, text in given.items():
            (tmp_path / name).write_text(f"{text}\n")

    return of


@pytest.mark.parametrize(
    ("limit", "used", "files", "free", "total"),
    [
        (8 * GIB, 5, 0, 3, 8),
        (8 * GIB, 8, 6, 6, 8),  # a file that was read counts as used until somebody needs the room
        (48 * GIB, 1, 0, 40, 48),  # others have the rest
        ("max", 5, 0, 40, 64),
        (9 << 60, 5, 0, 40, 64),
    ],
)
def test_the_container_has_its_limit_less_what_it_uses_and_never_more_than_the_machine(
    container, limit, used, files, free, total
):
    container(limit, used, files)
    assert usable_memory() == (free * GIB, total * GIB)


def test_without_a_container_the_machine_is_meant(container):
    assert usable_memory() == (40 * GIB, 64 * GIB)

"""Scratch folders of processes that live stay, whatever their ids; what a killed one left is removed."""

import os
import signal

import pytest

from tasks.runtime.scratch import scratch_folder


def names(home):
    return {folder.name for folder in home.glob("scratch-*")}


def test_a_folder_in_use_stays_though_its_process_has_an_id_that_is_none_here(tmp_path, monkeypatch):
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + pid)  # as of another container: above Linux's largest id
    with scratch_folder(tmp_path) as theirs, scratch_folder(tmp_path) as ours:
        assert names(tmp_path) == {theirs.name, ours.name}
    assert names(tmp_path) == set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_a_killed_process_left_is_removed_though_its_id_lives(tmp_path):
    if (child := os.fork()) == 0:
        with scratch_folder(tmp_path) as folder:
            (folder / "rows").write_text("half")
            folder.rename(tmp_path / f"scratch-{os.getppid()}-left")  # the id of a process that lives
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with scratch_folder(tmp_path) as ours:
        assert names(tmp_path) == {ours.name}

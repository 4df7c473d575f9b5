"""A file that is only added to: one writer, whole lines, nothing of a write that failed."""

import os

import pytest

from infra.errors import InfraError
from infra.pages.append_only import AppendOnlyFile


def test_a_file_is_as_it_was_until_it_is_healed_and_then_its_torn_last_line_is_cut_off_or_ended(tmp_path):
    path = tmp_path / "new" / "j.jsonl"
    with AppendOnlyFile(path) as file:
        file.add(b'{"a": 1}\n')
    with path.open("ab") as other:
        other.write(b'{"b": ')
    with AppendOnlyFile(path) as file:
        assert file.data == path.read_bytes() == b'{"a": 1}\n{"b": '
        file.heal(b'{"a": 1}\n')
        assert (file.data, file.healed) == (b'{"a": 1}\n', 6)
        file.add(b'{"c": 3}')
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}'
    with AppendOnlyFile(path) as file:
        file.heal(file.data + b"\n")
        assert (file.data, file.healed) == (b'{"a": 1}\n{"c": 3}\n', 0)
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    path = tmp_path / "j.jsonl"
    with AppendOnlyFile(path):
        with pytest.raises(InfraError, match="another `dpo judge` has this file open") as caught:
            AppendOnlyFile(path)
        assert caught.value.where == str(path)
    AppendOnlyFile(path).close()


def test_of_a_write_that_fails_midway_nothing_stays(tmp_path, monkeypatch):
    path = tmp_path / "j.jsonl"
    write = os.write
    with AppendOnlyFile(path) as file:
        file.add(b"one\n")

        def half(handle, data):
            if len(data) < 8:
                raise OSError(28, "No space left on device")
            return write(handle, data[: len(data) // 2])

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(InfraError, match="nothing was saved: No space left"):
            file.add(b"two and more\n")
        monkeypatch.undo()
        assert path.read_bytes() == b"one\n"
        file.add(b"three\n")
    assert path.read_bytes() == b"one\nthree\n"


def test_it_is_told_when_its_path_names_another_file(tmp_path):
    path = tmp_path / "j.jsonl"
    with AppendOnlyFile(path) as file:
        assert file.is_there()
        path.rename(tmp_path / "moved")
        assert not file.is_there()
        path.write_text("another\n")
        assert not file.is_there()


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match="cannot be written") as caught:
        AppendOnlyFile(tmp_path / "file" / "j.jsonl")
    assert caught.value.do == "check the folder, and who may write there"

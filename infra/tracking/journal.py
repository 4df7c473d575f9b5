"""What one run logs to MLflow, on this machine's disk: recorded first, delivered afterwards, in order.

    DPO_HOME/spool/RUN_ID/journal.jsonl     an entry a line, each on disk before the run goes on
    DPO_HOME/spool/RUN_ID/delivered         how many bytes of it MLflow has
    DPO_HOME/spool/RUN_ID/files/SHA256/     artifacts that wait
    DPO_HOME/spool/refused/RUN_ID.jsonl     entries that MLflow rejects

The journal stays until the run's end is delivered, so that a run that goes on knows what it has logged already.
"""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from infra.store.base import digest
from infra.tracking.entries import ArtifactEntry, JournalEntry, MetricsEntry, OpenedEntry, StatusEntry, TagsEntry, parse


class WaitingEntry(NamedTuple):
    """An entry that MLflow does not have yet; `end`: where the next one begins, in bytes."""

    entry: JournalEntry
    end: int


@dataclass
class LoggedState:
    """What a run has logged, delivered or not: last step of each metric, tags, to which server, its end."""

    server: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    def add(self, entry: JournalEntry) -> None:
        """Take over what one more entry says."""
        self.ended = isinstance(entry, StatusEntry) and entry.is_end
        steps: dict[str, int] = {}
        if isinstance(entry, OpenedEntry):
            self.server, steps = entry.server, entry.steps
            self.tags |= entry.tags
        elif isinstance(entry, MetricsEntry):
            steps = dict.fromkeys(entry.values, entry.step)
        elif isinstance(entry, TagsEntry):
            self.tags |= entry.values
        for name, step in steps.items():
            self.steps[name] = max(step, self.steps.get(name, step))


class Journal:
    """Entries of one run. Processes and threads may append side by side; one at a time delivers (`delivering`)."""

    def __init__(self, spool: Path, run_id: str) -> None:
        self.run_id = run_id
        self.folder = spool / run_id
        self.spool = spool
        self._lines, self._delivered = self.folder / "journal.jsonl", self.folder / "delivered"

    def exists(self) -> bool:
        """Whether this machine has recorded anything of the run that it still keeps."""
        return self._lines.is_file()

    def append(self, entry: JournalEntry, file: Path | None = None) -> None:
        """Write an entry to disk, and a copy of the file that an artifact's entry describes."""
        line = entry.to_line().encode()
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            if file is not None and isinstance(entry, ArtifactEntry):
                _copy(file, self.file(entry))
            with self._lines.open("a+b") as lines:
                if lines.tell() and not _ends_in_newline(lines.fileno(), lines.tell()):
                    line = b"\n" + line  # whoever wrote the last one was killed before it was whole
                lines.write(line)
                lines.flush()
                os.fsync(lines.fileno())

    def file(self, entry: ArtifactEntry) -> Path:
        """Where the copy of an artifact's file is."""
        return self.folder / "files" / entry.sha256 / entry.name

    def waiting(self) -> Iterator[WaitingEntry]:
        """The entries that MLflow does not have, in order. A last line that a crash truncated is ignored."""
        return self._read(self._done())

    def logged(self) -> LoggedState:
        """What the whole journal says."""
        state = LoggedState()
        for entry, _ in self._read(0):
            state.add(entry)
        return state

    def idle_s(self) -> float:
        """Seconds since the last entry."""
        return time.time() - self._lines.stat().st_mtime if self.exists() else 0.0

    def delivering(self) -> FileLock:
        """Held by whoever delivers."""
        self.spool.mkdir(parents=True, exist_ok=True)
        return FileLock(self.spool / "delivery.lock")

    def working(self) -> FileLock:
        """Held by a process that works on the run, for as long as it lives; Timeout at once where another holds it."""
        return FileLock(self.folder / "work.lock", blocking=False)

    def mark(self, end: int) -> None:
        """MLflow has everything up to this byte."""
        fresh = self._delivered.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(str(end))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._delivered)

    def keep_rejected(self, entry: JournalEntry) -> Path:
        """Keep an entry that is not to be sent again, in `refused/`."""
        path = self.spool / "refused" / f"{self.run_id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(entry.to_line())
        return path

    def tidy(self, *, ended: bool) -> None:
        """Remove the files that nothing waits for any more, and the whole journal if the run has `ended`."""
        with self._writing():
            if next(self.waiting(), None) is not None:
                return
            shutil.rmtree(self.folder / "files", ignore_errors=True)
            if ended and self.folder.is_dir():
                leaving = self.spool / f".{self.run_id}.{uuid.uuid4().hex}"
                self.folder.rename(leaving)  # at once: half a journal would be delivered again
                shutil.rmtree(leaving)

    def _writing(self) -> FileLock:
        self.spool.mkdir(parents=True, exist_ok=True)
        return FileLock(self.spool / "journals.lock")

    def _done(self) -> int:
        try:
            done = int(self._delivered.read_text())
            return done if done <= self._lines.stat().st_size else 0
        except (OSError, ValueError):
            return 0

    def _read(self, start: int) -> Iterator[WaitingEntry]:
        if not self.exists():
            return
        with self._lines.open("rb") as lines:
            lines.seek(start)
            while (line := lines.readline()).endswith(b"\n"):
                entry = parse(line)
                if entry is not None:
                    yield WaitingEntry(entry, lines.tell())


def journals(spool: Path) -> list[Journal]:
    """All journals there are."""
    return [Journal(spool, lines.parent.name) for lines in sorted(spool.glob("[!.]*/journal.jsonl"))]


def _copy(file: Path, target: Path) -> None:
    """By content: one that is there and whole is left alone."""
    if not target.is_file() or digest(target) != target.parent.name:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        with target.open("rb") as copy:
            os.fsync(copy.fileno())


def _ends_in_newline(handle: int, size: int) -> bool:
    return os.pread(handle, 1, size - 1) == b"\n"

"""A file of judgements: JSON lines that are only ever added, and what they say together.

    {"kind": "opened", ...}      a source was opened: its name, digest, number of items, what is asked
    {"kind": "item", ...}        what is judged, with all its words, before the first judgement of it; again, where
                                 more is known of where they are from
    {"kind": "judgement", ...}   one person's choice
    {"kind": "undo", ...}        that person took it back

The words stand in it so that a judgement never loses what it is of. A last line that was torn midway was never shown as
saved, and is not counted.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from dpo_core.data.messages import BadRow
from dpo_core.errors import InputError
from dpo_core.judging.items import JudgedItem, JudgingMode
from dpo_core.records import Record

JudgedChoice = Literal["first", "second", "tie", "bad", "skip", "edit", "fine"]
COMPARED = ("first", "second", "tie", "bad")  # choices that compare; bad: neither answer is any good
EDITED = ("edit", "fine")  # choices where one answer is corrected; fine: nothing is to be corrected
KINDS = ("opened", "item", "judgement", "undo")
NOTE_LIMIT = 10_000  # characters
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
BEGINNINGS = tuple(f'{{"kind": "{kind}"'.encode() for kind in KINDS)  # as `written` has them
DO = "name a file of judgements; in one, restore the line from a backup, or take it out: each stands for itself"


class Opened(Record):
    """A source was opened to be judged."""

    kind: Literal["opened"] = "opened"
    source: str = Field(description="file, folder or data set")
    sha256: str = Field(description="of its content then")
    items: int
    mode: JudgingMode
    seed: int
    overlap: float
    when: str = Field(description="ISO 8601, UTC")


class Judgement(Record):
    """What one person said of one item. `left`: the answer that stood left; `text`: the answer as it was edited."""

    kind: Literal["judgement"] = "judgement"
    id: str
    item: str
    by: str = Field(min_length=1)
    choice: JudgedChoice
    left: Literal["first", "second", ""] = ""
    text: str = ""
    note: str = Field("", max_length=NOTE_LIMIT)
    settles: bool = Field(False, description="it decides between people who disagreed")
    seconds: float = Field(0.0, description="that the item was looked at; 0: not known")
    when: str = Field(description="ISO 8601, UTC")


class Undo(Record):
    """A person took a judgement of theirs back."""

    kind: Literal["undo"] = "undo"
    judgement: str
    by: str
    when: str


Line = Opened | JudgedItem | Judgement | Undo


def written(*lines: Line) -> bytes:
    """Lines as they stand in the file."""
    rows = (line.to_line() if isinstance(line, JudgedItem) else line.model_dump(mode="json") for line in lines)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "surrogatepass")


@dataclass
class Judged:
    """What lines say together. `undone`: judgements that were taken back."""

    items: dict[str, JudgedItem] = field(default_factory=dict)
    opened: list[Opened] = field(default_factory=list)
    judgements: dict[str, Judgement] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    _said: dict[str, list[Judgement]] = field(default_factory=dict)  # of each item, in order, undone ones too
    _by_item: dict[str, dict[str, Judgement]] = field(default_factory=dict)

    def add(self, line: Line) -> None:
        """Take in one more line; a judgement that is known already changes nothing."""
        if isinstance(line, Opened):
            self.opened.append(line)
        elif isinstance(line, JudgedItem):
            known = self.items.get(line.id)
            self.items[line.id] = known.filled(line) if known else line
        elif isinstance(line, Undo):
            self.undone.add(line.judgement)
            if line.judgement in self.judgements:
                self._recount(self.judgements[line.judgement].item)
        elif line.id not in self.judgements:
            self.judgements[line.id] = line
            self._said.setdefault(line.item, []).append(line)
            if line.id not in self.undone:
                self._by_item.setdefault(line.item, {})[_voice(line)] = line

    def knows(self, item: JudgedItem) -> bool:
        """Whether an item stands there with all that is said of it here."""
        known = self.items.get(item.id)
        return known is not None and known.filled(item) == known

    def of(self, item: str) -> list[Judgement]:
        """What each person says of an item, skips included, by the newest judgement of each; no settlement."""
        return [said for said in self._by_item.get(item, {}).values() if not said.settles]

    def settlement(self, item: str) -> Judgement | None:
        """The judgement that decides between people, where there is one."""
        return self._by_item.get(item, {}).get("")

    def said_by(self, item: str, by: str) -> Judgement | None:
        """What this person says of an item."""
        return self._by_item.get(item, {}).get(by)

    def standing(self) -> list[Judgement]:
        """All that were not taken back, in order."""
        return [said for said in self.judgements.values() if said.id not in self.undone]

    def people(self) -> dict[str, list[Judgement]]:
        """Each person's judgements that stand, in order."""
        found: dict[str, list[Judgement]] = {}
        for said in self.standing():
            found.setdefault(said.by, []).append(said)
        return found

    def voices(self) -> Iterator[tuple[str, list[Judgement]]]:
        """Each item that somebody said something of, by its first judgement, with what `of` gives; skips included."""
        for item, said in self._by_item.items():
            if found := [one for one in said.values() if not one.settles]:
                yield item, found

    def judged_items(self) -> list[JudgedItem]:
        """The items that somebody decided on, in the order of the first judgement of each."""
        return [self.items[item] for item, said in self.voices() if any(one.choice != "skip" for one in said)]

    def _recount(self, item: str) -> None:
        self._by_item[item] = {_voice(said): said for said in self._said[item] if said.id not in self.undone}


def _voice(said: Judgement) -> str:
    return "" if said.settles else said.by


def read_judged(paths: Iterable[str | Path]) -> Judged:
    """What some files of judgements say together: each in its order, all of them by time, and else as they are named.

    Raises InputError with file and line where one is no such line.
    """
    read = Judged()
    timed: list[tuple[datetime, Line]] = []
    for path in map(Path, paths):
        try:
            data = path.read_bytes()
        except OSError as error:
            says = f"the judgements cannot be read: {error.strerror or error}"
            raise InputError(says, where=str(path), do="check the path; `dpo judge FILE` makes such a file") from None
        lines = add_lines(read, data, str(path))
        timed += zip(accumulate(map(_time, lines), max), lines, strict=True)
    judged = Judged()
    for _, line in sorted(timed, key=itemgetter(0)):
        judged.add(line)
    return judged


def _time(line: Line) -> datetime:
    """Where it is not known, before all others."""
    try:
        told = datetime.fromisoformat("" if isinstance(line, JudgedItem) else line.when)
    except ValueError:
        return BEFORE_ALL
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def whole_lines(data: bytes) -> bytes:
    """The data of a file without a last line that was torn; one that lacks only its end is given it."""
    end = data.rfind(b"\n") + 1
    return data[:end] if _is_torn(data[end:]) else data + b"\n"


def _is_torn(tail: bytes) -> bool:
    """Whether what stands after the last end of a line is the first part of a line, as it is written here.

    A loss of power leaves zeros where data was not on the disk yet.
    """
    tail = tail.rstrip(b"\0")
    try:
        json.JSONDecoder().raw_decode(tail.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return any(beginning.startswith(tail[: len(beginning)]) for beginning in BEGINNINGS)
    return False


def add_lines(judged: Judged, data: bytes, path: str) -> list[Line]:
    """Take in the lines of one file, a torn last one left out. Returns them."""
    lines: list[Line] = []
    for number, line in enumerate(whole_lines(data).split(b"\n")[:-1], 1):
        if not line.strip():
            continue
        found = parse_line(line, f"{path}:{number}")
        if isinstance(found, Judgement) and found.item not in judged.items:
            says = f"a judgement of the item {found.item}, whose words do not stand before it"
            raise InputError(says, where=f"{path}:{number}", do="put the item's line back, or take this one out")
        if isinstance(found, Undo) and found.judgement not in judged.judgements:
            says = f"takes back the judgement {found.judgement}, which does not stand before it"
            raise InputError(says, where=f"{path}:{number}", do=DO)
        judged.add(found)
        lines.append(found)
    return lines


def parse_line(line: bytes, where: str) -> Line:
    """One line. Raises InputError."""
    try:
        row: Any = json.loads(line.decode("utf-8", "surrogatepass"))
        kind = row.get("kind") if isinstance(row, dict) else None
        if kind == "item":
            return JudgedItem.from_line(row)
        if kind == "judgement":
            return Judgement.model_validate(row)
        if kind == "undo":
            return Undo.model_validate(row)
        if kind == "opened":
            return Opened.model_validate(row)
        raise BadRow(f"its kind is {str(kind)[:40]!r}, none of {', '.join(KINDS)}")
    except ValidationError as error:
        raise InputError(f"not a line of judgements: {problem_of(error)}", where=where, do=DO) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a line of judgements: {error}", where=where, do=DO) from None


def problem_of(error: ValidationError) -> str:
    """The first thing that is wrong, after its place."""
    problem = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def holds_judgements(path: str | Path) -> bool:
    """Whether a file begins as a file of judgements does."""
    try:
        with Path(path).open("rb") as file:
            row = json.loads(file.readline(1 << 20))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and row.get("kind") in KINDS

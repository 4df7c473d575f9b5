"""A JSON array of rows, split into its elements as text: never held whole."""

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import InputError

READ_LIMIT = 64 << 20  # characters of one element (bytes of one line), before it is looked at
BLOCK = 1 << 20
NEXT = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()
PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL)  # a string, a bracket, or a string without end


def array_elements(file: io.BufferedReader, path: Path) -> Iterator[bytes]:
    """The elements of an array as text, one at a time. One that is no JSON is passed on if its end can be found."""
    text = _Window(file, path)
    text.skip("[")
    number = 0
    while not text.skip("]"):
        if number and not text.skip(","):
            raise _broken(path, number + 1)
        number += 1
        yield text.take(number).encode("utf-8", "surrogateescape")
    if text.rest():
        raise InputError("something follows the array", where=str(path), do="write one array, or one row a line")


class _Window:
    """The part of a file's text that is looked at."""

    def __init__(self, file: io.BufferedReader, path: Path) -> None:
        self.file, self.path = file, path
        self.decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.at = "", 0
        self.more(BLOCK)
        self.text = self.text.removeprefix("\ufeff")

    def more(self, size: int) -> bool:
        """Read on; False at the end of the file."""
        data = self.file.read(size)
        self.text, self.at = self.text[self.at :] + self.decode.decode(data, final=not data), 0
        return bool(data)

    def skip(self, mark: str) -> bool:
        """Pass over white space and `mark`; False where something else comes."""
        while True:
            self.at = NEXT.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                break
            if not self.more(BLOCK):
                return False
        found = self.text[self.at] == mark
        self.at += found
        return found

    def rest(self) -> bool:
        """Whether anything but white space is left."""
        self.skip("")
        return self.at < len(self.text)

    def take(self, number: int) -> str:
        """One element: to its end as JSON, else to where its brackets close."""
        self.skip("")
        while True:
            end = _end_of(self.text, self.at)
            if end is not None and (end < len(self.text) or self.text[end - 1] in '}]"'):
                element = self.text[self.at : end]
                self.at = end
                return element
            if len(self.text) - self.at > READ_LIMIT:
                raise InputError(
                    f"an element of more than {READ_LIMIT >> 20} MiB", where=f"{self.path}:row {number}", do="split it"
                )
            if not self.more(max(BLOCK, len(self.text) - self.at)):
                raise _broken(self.path, number)


def _end_of(text: str, at: int) -> int | None:
    """Where the value at `at` ends, if it does in this text; of one that is no JSON, where its brackets close."""
    try:
        return DECODER.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        pass
    if text[at : at + 1] not in ("{", "["):
        return None
    open_brackets: list[str] = []
    for piece in PIECE.finditer(text, at):
        mark = piece.group()
        if mark in "{[":
            open_brackets.append("}" if mark == "{" else "]")
        elif mark == '"' or (mark in "}]" and mark != open_brackets.pop()):
            return None
        if not open_brackets:
            return piece.end()
    return None


def _broken(path: Path, number: int) -> InputError:
    return InputError("the JSON array breaks off", where=f"{path}:row {number}", do="write it again, or one row a line")

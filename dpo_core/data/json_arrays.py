"""A JSON array of rows, split into its elements as text: never held whole."""

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from dpo_core.errors import InputError

READ_LIMIT = 16 << 20  # characters of one element (bytes of one line), before it is looked at
BLOCK = 1 << 20
MEND = "a bracket or a quote is missing in this row or the one before: write the file again, with one row a line"
NEXT = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()
STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)  # the rest of a string, to its end
BRACKET = re.compile(r'["\[\]{}]')
SCALAR = re.compile(r'[^\s,\]}"\[{]+')
CLOSES = {"{": "}", "[": "]"}


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
        """One element: to where its brackets close, whether or not it is JSON between them."""
        self.skip("")
        length = _quickly(self.text, self.at)
        if length:
            self.at += length
            return self.text[self.at - length : self.at]
        end = _End(self.text[self.at : self.at + 1])
        while not end.find(self.text, self.at):
            if len(self.text) - self.at > READ_LIMIT:
                raise InputError(
                    f"an element of more than {READ_LIMIT >> 20} MiB", where=f"{self.path}:row {number}", do=MEND
                )
            if not self.more(BLOCK):
                raise _broken(self.path, number)
        if end.wrong:
            raise _broken(self.path, number)
        element = self.text[self.at : self.at + end.length]
        self.at += end.length
        return element


def _quickly(text: str, at: int) -> int:
    """Length of the element that begins there, if it is JSON, and whole in a window of ordinary size; else 0."""
    if text[at : at + 1] not in CLOSES or len(text) - at > 2 * BLOCK:
        return 0
    try:
        return DECODER.raw_decode(text, at)[1] - at
    except (ValueError, RecursionError):
        return 0


class _End:
    """Looks for the end of an element in a text that grows, without looking at any of it twice.

    `length`: how far it has looked; the element's length once it is found. `wrong`: a bracket closes what is not open.
    """

    def __init__(self, first: str) -> None:
        self.first, self.length, self.wrong = first, 0, False
        self.open, self.in_string = bytearray(), False

    def find(self, text: str, start: int) -> bool:
        """Whether the end is in `text`, in which the element begins at `start`."""
        if self.first not in ("{", "[", '"'):
            match = SCALAR.match(text, start)
            self.length = match.end() - start if match else 0
            self.wrong = match is None
            return self.wrong or start + self.length < len(text)
        at: int | None = start + self.length
        while at is not None and not self.wrong:
            self.length = at - start
            if self.length and not self.open and not self.in_string:
                return True
            at = self._pass_string(text, at) if self.in_string else self._next_bracket(text, at)
        return self.wrong

    def _pass_string(self, text: str, at: int) -> int | None:
        match = STRING.match(text, at)
        if match is None:
            return None
        self.in_string = False
        return match.end()

    def _next_bracket(self, text: str, at: int) -> int | None:
        match = BRACKET.search(text, at)
        if match is None:
            return None
        mark = match.group()
        if mark == '"':
            self.in_string = True
        elif mark in CLOSES:
            self.open.append(ord(CLOSES[mark]))
        elif not self.open or self.open.pop() != ord(mark):
            self.wrong = True
        return match.end()


def _broken(path: Path, number: int) -> InputError:
    return InputError("the JSON array breaks off", where=f"{path}:row {number}", do=MEND)

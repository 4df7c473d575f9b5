"""JSON lines and JSON arrays, plain, gzip or zstd: split into rows, never held whole. File faults are InputErrors."""

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.data.chunks import Item, TextChunk, chunked
from dpo_core.errors import InputError

READ_LIMIT = 64 << 20  # bytes of one line (characters of one element), before it is looked at
SIZE_LIMIT = 64 << 30  # bytes of a decompressed file
RATIO_LIMIT = 200  # decompressed to compressed: text reaches 20
PEEK = 1 << 16
BLOCK = 1 << 20
BOM = b"\xef\xbb\xbf"
FOREIGN = {
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"PK\x03\x04": "a ZIP archive",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}
NEXT = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()
PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL)  # a string, a bracket, or a string without end


def text_chunks(path: Path) -> Iterator[TextChunk]:
    """The rows of one file."""
    with opened(path) as file:
        head = file.peek(PEEK)[:PEEK]
        _require_json_text(head, path)
        if _is_array(head, path):
            yield from chunked(_elements(file, path), str(path), "row ")
        else:
            yield from chunked(_lines(file, path), str(path))


def opened(path: Path) -> io.BufferedReader:
    """A file's bytes, decompressed by its name, counted on the way."""
    return io.BufferedReader(_Inflated(path), PEEK)


class _Inflated(io.RawIOBase):
    """Decompression that is refused when it goes beyond all measure."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, 0
        limit = RATIO_LIMIT * max(path.stat().st_size, 10_000)
        self.limit = min(SIZE_LIMIT, limit) if path.suffix in (".gz", ".zst") else None
        if path.suffix == ".zst":
            import pyarrow as pa

            self.stream: Any = pa.input_stream(str(path), compression="zstd")
        else:
            self.stream = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb", buffering=0)  # noqa: SIM115

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.stream.read(len(buffer))
        except EOFError:
            raise self._cut("gzip") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._damaged(f"not a gzip file: {error}") from None
        except OSError as error:
            if error.errno is not None or self.path.suffix != ".zst":
                raise
            raise (self._cut("zstd") if "runcated" in str(error) else self._damaged("not a zstd file")) from None
        self.seen += len(data)
        if self.limit is not None and self.seen > self.limit:
            raise InputError(
                "the file inflates beyond all measure", where=str(self.path), do="check where it comes from; split it"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.stream.close()
        super().close()

    def _cut(self, kind: str) -> InputError:
        says = f"the {kind} file is cut off"
        return InputError(says, where=str(self.path), do="copy it again; the transfer was not complete")

    def _damaged(self, says: str) -> InputError:
        return InputError(says, where=str(self.path), do="compress it again")


def _require_json_text(head: bytes, path: Path) -> None:
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            packed = "compressed twice: inside is " if path.suffix in (".gz", ".zst") else "not JSON but "
            raise InputError(f"the file is {packed}{kind}", where=str(path), do="unpack it, or give it its own suffix")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        raise InputError(
            "the file is UTF-16 or UTF-32, not UTF-8",
            where=str(path),
            do="save it as UTF-8: `iconv -f UTF-16 -t UTF-8`",
        )


def _is_array(head: bytes, path: Path) -> bool:
    """One JSON array of rows, not a row a line: by its first characters."""
    start = head.removeprefix(BOM).lstrip()
    inside = start[1:].lstrip()
    named = any(suffix == ".json" for suffix in path.suffixes[-2:])
    return start.startswith(b"[") and (named or not inside or inside.startswith((b"{", b"]")))


def _lines(file: io.BufferedReader, path: Path) -> Iterator[Item]:
    """Lines that are not blank, numbered; byte order mark and line ends (old Mac ones too) removed."""
    number = offset = 0
    for line in iter(lambda: file.readline(READ_LIMIT), b""):
        if len(line) == READ_LIMIT and not line.endswith(b"\n"):
            raise InputError(
                f"a line of more than {READ_LIMIT >> 20} MiB", where=f"{path}:{number + 1}", do="write one row a line"
            )
        start = offset
        for part in line.splitlines(keepends=True) if b"\r" in line else (line,):
            number += 1
            data = part.rstrip(b"\r\n")
            if number == 1 and data.startswith(BOM):
                data, start = data[len(BOM) :], start + len(BOM)
            if data.strip():
                yield Item(number, data, start)
            start += len(part)
        offset += len(line)


def _elements(file: io.BufferedReader, path: Path) -> Iterator[Item]:
    """The elements of an array as text, one at a time. One that is no JSON is passed on if its end can be found."""
    text = _Window(file, path)
    text.skip("[")
    number = 0
    while not text.skip("]"):
        if number and not text.skip(","):
            raise _broken(path, number + 1)
        number += 1
        element = text.take(number)
        yield Item(number, element.encode("utf-8", "surrogateescape"), None)
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

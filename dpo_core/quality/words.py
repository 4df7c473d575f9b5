"""What a word is in any script; and the texts of many pairs as one array, so that a word costs nanoseconds.

Strings (`words`) and hashes (`TextArray.words`) are cut at the same places.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Bools = NDArray[np.bool_]
SIDES = ("prompt", "chosen", "rejected")
# Words by themselves: characters of Chinese, Japanese, Thai, Lao, Burmese and Khmer, which are written without spaces.
# U+3005 to U+3007, which stand for a character, are not listed: between such characters they are words anyway.
_ALONE = (
    "\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff"
)
_HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # has spaces, but none before an ending
_IN_RUN = rf"[^\W{_ALONE}]"  # all other words are runs of letters, digits and `_`
SINGLE = re.compile(f"[{_ALONE}]")
_WORD = re.compile(f"[{_ALONE}]|{_IN_RUN}+")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_PIECE = re.compile(rf"{_WORD.pattern}|[^\w\s]")
_JOINABLE = re.compile(f"[{_ALONE}{_HANGUL}]")  # beside such a character a word may begin or end
POINTS = 0x110000
LONGEST = 1024  # characters of a word; the rest of a longer one is hashed as if it began anew
_RUN, _SINGLE = 1, 2


def split(text: str) -> list[str]:
    """The words of a text in order, as written."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


def words(text: str) -> list[str]:
    """The words of a text in order, case folded."""
    found = split(text)
    return "\n".join(found).casefold().split("\n") if found else []  # folding first would cut some letters in two


def pieces(text: str) -> list[str]:
    """The words and punctuation marks of a text in order, as written."""
    return _PIECE.findall(text)


def count_words(text: str) -> int:
    """Words between spaces; each character of a script without spaces (Chinese, Thai, ...) counts as one more."""
    return len(text.split()) + (0 if text.isascii() else len(SINGLE.findall(text)))


def stands_in(text: str, phrase: str) -> bool:
    """Whether whole words of `text` are `phrase`, in any case.

    Where a script is written without spaces, or sets none before an ending (Korean), it is found as it stands.
    """
    text, phrase = (unicodedata.normalize("NFC", value) for value in (text, phrase))
    spans = (match.span(1) for match in re.finditer(f"(?=({re.escape(phrase)}))", text, re.IGNORECASE))
    return any(not any(_inside_word(text[max(at - 1, 0) : at + 1]) for at in span) for span in spans)


def _inside_word(neighbours: str) -> bool:
    """Whether two characters are letters (with their marks), digits or `_` of one word."""
    return len(neighbours) == 2 and all(
        (char == "_" or unicodedata.category(char)[0] in "LMN") and not _JOINABLE.match(char) for char in neighbours
    )


@dataclass(frozen=True)
class TextArray:
    """N texts end to end. `points`: code points, a line feed after each text; text i is points[starts[i] : ends[i]]."""

    points: NDArray[np.uint32]
    starts: Ints
    ends: Ints

    @classmethod
    def of(cls, texts: Sequence[str]) -> "TextArray":
        """Lay texts out in their order."""
        joined = "\n".join([*texts, ""]).encode("utf-32-le", "surrogatepass")
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        ends = np.cumsum(lengths + 1) - 1
        return cls(np.frombuffer(joined, dtype=np.uint32), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def owner(self, places: Ints) -> Ints:
        """The text that each place (index into `points`, ascending or not) belongs to."""
        return np.searchsorted(self.ends, places, side="left")

    def any_of(self, places: Ints) -> Bools:
        """Per text: is one of `places` in it."""
        found = np.zeros(len(self), dtype=np.bool_)
        found[self.owner(places)] = True
        return found

    @cached_property
    def words(self) -> "Words":
        """The words of each text in order, case folded letter by letter: what folds to two letters stays as it is."""
        return _words(self)


@dataclass(frozen=True)
class Words:
    """The words of N texts. `hashes`: 64 bits; `at`: beginnings in `points`; of text i: bounds[i] to bounds[i + 1]."""

    hashes: Hashes
    at: Ints
    bounds: Ints

    @cached_property
    def owners(self) -> Ints:
        """The text of each word."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    def shingles(self, length: int, *, short: bool = True) -> tuple[Hashes, Ints]:
        """Hashes of `length` consecutive words of one text, in order, and whose they are.

        A text of fewer words is one shingle where `short`, else none.
        """
        counts = np.diff(self.bounds)
        total, power = len(self.hashes), np.uint64(0x9E3779B97F4A7C15)
        rolled = np.zeros(total, dtype=np.uint64)
        for offset in range(length):  # words beyond the end of their text count as zero
            rolled *= power
            if offset < total:
                same = self.owners[offset:] == self.owners[: total - offset]
                rolled[: total - offset] += self.hashes[offset:] * same
        last = np.repeat(self.bounds[:-1] + (np.maximum(counts - length, 0) if short else counts - length), counts)
        whole = np.arange(total) <= last
        return mix(rolled[whole]), self.owners[whole]


def mix(values: Hashes) -> Hashes:
    """Bits stirred so that each of them depends on all (the finaliser of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def word_hashes(words: Sequence[str]) -> Hashes:
    """The hashes that `TextArray.words` gives these words (one word each)."""
    found = TextArray.of(words).words
    if len(found.hashes) != len(words):
        raise ValueError("each text must be one word")
    return found.hashes


def spans(pattern: str) -> Ints:
    """All code points that a regular expression of one character class matches, ascending."""
    return np.concatenate(
        [np.arange(match.start(), match.end()) for match in re.finditer(pattern + "+", _every_character())]
        or [np.zeros(0, dtype=np.int64)]
    )


def table_of(*classes: tuple[str, int]) -> NDArray[np.uint8]:
    """A value for each code point: bits of every class (a regular expression) that it belongs to."""
    table = np.zeros(POINTS, dtype=np.uint8)
    for pattern, bits in classes:
        table[spans(pattern)] |= bits
    return table


@lru_cache(maxsize=1)
def _every_character() -> str:
    return "".join(map(chr, range(POINTS)))


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """Whether a character is part of a word, a word by itself, or neither."""
    return table_of((_IN_RUN, _RUN), (SINGLE.pattern, _SINGLE))


@lru_cache(maxsize=1)
def _folded() -> NDArray[np.uint64]:
    """A random-looking number for each character, the same for upper and lower case."""
    lower = np.arange(POINTS, dtype=np.uint64)
    for point in spans(r"[^\W\d_]"):
        small = chr(point).lower()
        if len(small) == 1:
            lower[point] = ord(small)
    return mix(lower + np.uint64(1))


@lru_cache(maxsize=1)
def _powers() -> NDArray[np.uint64]:
    return np.cumprod(np.full(LONGEST, 0xD1342543DE82EF95, dtype=np.uint64), dtype=np.uint64)


def _words(texts: TextArray) -> Words:
    """Each word's hash is the sum of its characters' numbers, each times a power for its place."""
    kinds = _kinds()[texts.points]
    begins = kinds == _RUN
    begins[1:] &= kinds[:-1] != _RUN
    begins |= kinds == _SINGLE
    at = np.flatnonzero(begins)
    if not len(at):
        return Words(np.zeros(0, dtype=np.uint64), at, np.zeros(len(texts) + 1, dtype=np.int64))
    inside = np.flatnonzero(kinds)
    first = np.searchsorted(inside, at)  # where each word begins among the characters inside words
    place = inside - np.repeat(at, np.diff(first, append=len(inside)))
    values = _folded()[texts.points[inside]] * _powers()[place & (LONGEST - 1)]
    hashes = np.add.reduceat(values, first)
    return Words(mix(hashes), at, np.concatenate([[0], np.searchsorted(at, texts.ends)]))

"""Characters that should not be in an answer: broken encodings, and what no reader can see."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.words import Bools, Ints, TextArray, table_of

CONTROL, ZERO_WIDTH, BIDI, REPLACEMENT = 1, 2, 4, 8
JOINER, LEAD, CONTINUATION = 16, 32, 64
SURE = "\u00c2\u00c3"  # UTF-8 accents read as Latin-1 begin with these; curly quotes with \u00e2
MAYBE = (
    "\u00c4\u00c5\u00ce\u00cf\u00d0\u00d1"  # of Slavic, Greek and Cyrillic text: also letters before a quote or dots
)
MANY = 3  # sequences that are not sure alone
CLASSES = (
    ("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]", CONTROL),
    ("[\u200b\u2060-\u2064\ufeff\u180e\U000e0000-\U000e007f]", ZERO_WIDTH),
    ("[\u202a-\u202e\u2066-\u2069]", BIDI),
    ("[\ufffd]", REPLACEMENT),
    ("[\u200c\u200d]", JOINER),  # at home in Persian, in Indic scripts and in emoji, not between Latin letters
    ("[\u00c2-\u00f4]", LEAD),
    # what the bytes 80 to BF look like in Latin-1 and in Windows-1252
    (
        "[\u0080-\u009f\u00a1-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018"
        "\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178]",
        CONTINUATION,
    ),
)


def unreadable(texts: TextArray) -> dict[str, Bools]:
    """Per text and kind of character: is one in it (`control`, `zero_width`, `bidi`, `replacement`, `mojibake`)."""
    bits = _bits()[texts.points]
    odd = np.flatnonzero(bits & (CONTROL | ZERO_WIDTH | BIDI | REPLACEMENT | JOINER))
    kind = bits[odd]
    joined = odd[kind == JOINER]
    joined = joined[_latin(texts, joined - 1) & _latin(texts, joined + 1)]
    return {
        "control": texts.any_of(odd[kind & CONTROL != 0]),
        "zero_width": texts.any_of(np.concatenate([odd[kind & ZERO_WIDTH != 0], joined])),
        "bidi": texts.any_of(odd[kind & BIDI != 0]),
        "replacement": texts.any_of(odd[kind & REPLACEMENT != 0]),
        "mojibake": _mojibake(texts, bits),
    }


def _mojibake(texts: TextArray, bits: NDArray[np.uint8]) -> Bools:
    """UTF-8 read as Latin-1 or Windows-1252: one sure sequence, or several that are likely."""
    leads = np.flatnonzero(bits & LEAD)
    leads = leads[bits[leads + 1] & CONTINUATION != 0]  # a line feed follows every text, so there is a next
    points, after = texts.points[leads], texts.points[leads + 1]
    quote = (points == ord("\u00e2")) & np.isin(after, [ord(character) for character in "\u20ac\u0080\u201a\u2020"])
    sure = quote | np.isin(points, [ord(character) for character in SURE])
    three_bytes = (points >= 0xE0) & (bits[np.minimum(leads + 2, len(bits) - 1)] & CONTINUATION != 0)
    likely = leads[three_bytes | np.isin(points, [ord(character) for character in MAYBE])]
    many = np.bincount(texts.owner(likely), minlength=len(texts)) >= MANY
    return np.asarray(texts.any_of(leads[sure]) | many)


def _latin(texts: TextArray, places: Ints) -> Bools:
    """Whether an ASCII letter stands there."""
    points = texts.points[np.clip(places, 0, max(len(texts.points) - 1, 0))] | 32
    return np.asarray((points >= ord("a")) & (points <= ord("z")))


@lru_cache(maxsize=1)
def _bits() -> NDArray[np.uint8]:
    return table_of(*CLASSES)

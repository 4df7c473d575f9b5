"""How much two answers differ in words, and whether they differ at all but for white space and end markers."""

import unicodedata

from rapidfuzz.distance import Levenshtein

from dpo_core.quality.text.surface import MARKER
from dpo_core.quality.words import pieces, words


def likeness(one: str, other: str) -> float:
    """1 - the least share of words to insert, delete or replace, case and punctuation aside; 1 for equal words.

    Levenshtein distance over words, divided by the longer text's number of words; symmetric.
    """
    return Levenshtein.normalized_similarity(*(words(text) or pieces(text) for text in (one, other)))


def change(before: str, after: str) -> float:
    """Least share of words and punctuation marks, as written, that lead from one text to the other; 0 to 1."""
    return Levenshtein.normalized_distance(pieces(before), pieces(after))


def bare(text: str) -> str:
    """A text without end and role markers, white space and differences of Unicode that cannot be seen."""
    return "".join(unicodedata.normalize("NFKC", MARKER.sub("", text)).split())

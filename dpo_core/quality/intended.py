"""The declared aim of a run, and what merely comes along with it.

A term of `validation.intended` is a word or phrase, a regular expression between slashes, or the name of a feature:
`length`, `refusal opening`, `list`, ... (`surface.PRESENCE`, `surface.AMOUNTS`).
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair, text_of
from dpo_core.quality.grams import Feature, stands
from dpo_core.quality.surface import AMOUNTS, LENGTHS, PRESENCE, amounts_of, presence_of, property_span
from dpo_core.quality.table import PairTable
from dpo_core.quality.words import count_words, words

SAME_PAIRS = 0.9  # share of a piece's discordant pairs in which an intended term differs the same way
LEFT_OVER = 0.1  # share of them in which it may still stand when the terms are cut out
LOOKED_AT = 200  # pairs
_CUT = " \x1a "


def columns(pairs: Sequence[EncodedPair], terms: Sequence[str]) -> dict[str, NDArray[Any]]:
    """`intended`: (N, terms) int8, 1 where only the chosen side has the term, -1 where only the rejected side."""
    spans = [_spans(term) for term in terms]
    sides = [
        [[bool(span(text_of(side))) for span in spans] for side in (pair.pair.chosen, pair.pair.rejected)]
        for pair in pairs
    ]
    there = np.array(sides, dtype=np.int8).reshape(len(pairs), 2, len(terms))
    return {"intended": there[:, 0] - there[:, 1]}


def differs_in_property(table: PairTable, terms: Sequence[str]) -> NDArray[np.bool_]:
    """Pairs whose sides differ in a declared property, such as a refusal.

    That is a kind of answer, not a word of it: it is shorter than others, opens and is worded in its own way.
    """
    declared = {term.casefold() for term in terms}
    return np.asarray((table["presence"][:, [name in declared for name in PRESENCE]] != 0).any(axis=1), dtype=np.bool_)


def names_feature(feature: Feature, terms: Sequence[str]) -> bool:
    """Whether a term is this very feature."""
    declared = {term.casefold() for term in terms}
    if feature.kind == "amount" and feature.text in LENGTHS:
        return bool({"length", feature.text} & declared)
    if feature.kind in ("property", "amount"):
        return feature.text.casefold() in declared
    return feature.kind in ("word", "token") and feature.text.strip().casefold() in declared


def is_piece(
    feature: Feature,
    d: NDArray[np.int8],
    intended: NDArray[np.int8],
    terms: Sequence[str],
    rows: Callable[[NDArray[np.intp]], list[Pair]],
) -> bool:
    """Whether a feature is a piece of the terms: it goes with them, and is gone when they are cut out of the answers.

    `d`: (N,) of the feature; `intended`: (N, terms) as `columns` made it; `rows` fetches pairs by their place in `d`.
    """
    there = np.flatnonzero(d)
    if not len(terms) or not len(there):
        return False
    if np.mean((intended[there] == d[there, None]).any(axis=1)) < SAME_PAIRS:
        return False
    looked = there[:: max(1, len(there) // LOOKED_AT)][:LOOKED_AT]
    left = 0
    for pair, sign in zip(rows(looked), d[looked].tolist(), strict=True):
        chosen, rejected = (_left(feature, cut(text_of(side), terms)) for side in (pair.chosen, pair.rejected))
        left += int(np.sign(chosen - rejected) == sign)
    return left <= LEFT_OVER * len(looked)


def cut(text: str, terms: Sequence[str]) -> str:
    """`text` with every intended term replaced by a mark that is no word."""
    for term in terms:
        for start, end in reversed(_spans(term)(text)):
            text = text[:start] + _CUT + text[end:]
    return text


@cache
def _spans(term: str) -> Callable[[str], list[tuple[int, int]]]:
    """Where a term stands in a text."""
    if term.casefold() in {*PRESENCE, *AMOUNTS, "length"}:
        return _property_spans(term.casefold())
    if len(term) > 2 and term.startswith("/") and term.endswith("/"):
        pattern = re.compile(term[1:-1])
    else:
        whole_word = words(term) == [term.casefold()] and term.isascii()
        pattern = re.compile(rf"(?i)(?<!\w){re.escape(term)}(?!\w)" if whole_word else f"(?i){re.escape(term)}")
    return lambda text: [match.span() for match in pattern.finditer(text) if match.end() > match.start()]


def _property_spans(name: str) -> Callable[[str], list[tuple[int, int]]]:
    span = property_span(name)
    if span is None:
        return lambda text: []

    def spans(text: str) -> list[tuple[int, int]]:
        start, end = span(text)
        return [(start, end)] if end > start else []

    return spans


def _left(feature: Feature, text: str) -> int:
    """How much of the feature a text has when its terms are cut out; tokens by their spelling."""
    kind, wanted = feature
    if kind == "amount":
        return amounts_of(text, count_words(text))[AMOUNTS.index(wanted)]
    if kind == "property":
        return int(presence_of(text, amounts_of(text, 0))[PRESENCE.index(wanted)])
    if "token" in kind:
        return int(text.startswith(wanted) if kind == "first_token" else wanted in text)
    mark = _CUT.strip()
    if (kind == "first_word" and text.strip()[:1] == mark) or (kind == "last_word" and text.strip()[-1:] == mark):
        return 0
    return int(any(stands(feature, part) for part in text.split(mark)))

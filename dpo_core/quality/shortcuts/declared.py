"""The declared aim of a run: its terms, and where they stand in an answer.

A term of `validation.intended` is a word or phrase, a regular expression between slashes, or the name of a feature:
`length`, `refusal`, `list`, ... (`surface.PRESENCE`, `surface.AMOUNTS`).
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, text_of
from dpo_core.quality.shortcuts.features import Feature
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.refusals import Span
from dpo_core.quality.text.surface import AMOUNTS, LENGTHS, PRESENCE, property_spans
from dpo_core.quality.text.words import words

CUT = " \x1a "  # stands for what was cut out; no word, and no word reaches across it
_OWN_OPENING = {"refusal opening": "refusal"}  # a refusal at the beginning is a refusal


def columns(pairs: Sequence[EncodedPair], terms: Sequence[str]) -> dict[str, NDArray[Any]]:
    """`intended`: (N, terms) int8, 1 where only the chosen side has the term, -1 where only the rejected side."""
    spans = [_spans(term) for term in terms]
    sides = [
        [[bool(span(text_of(side))) for span in spans] for side in (pair.pair.chosen, pair.pair.rejected)]
        for pair in pairs
    ]
    there = np.array(sides, dtype=np.int8).reshape(len(pairs), 2, len(terms))
    return {"intended": there[:, 0] - there[:, 1]}


def names_feature(feature: Feature, terms: Sequence[str]) -> bool:
    """Whether a term is this very feature."""
    declared = {term.casefold() for term in terms}
    name = feature.text.casefold()
    if feature.kind == "amount" and feature.text in LENGTHS:
        return bool({"length", feature.text} & declared)
    if feature.kind in ("property", "amount"):
        return name in declared or _OWN_OPENING.get(name) in declared
    return feature.kind in ("word", "token") and name.strip() in declared


def kinds(table: PairTable, terms: Sequence[str]) -> NDArray[np.int8]:
    """(N, declared properties): 1 where only the chosen answer is of that kind, -1 where only the rejected one is.

    A property, such as a refusal, is a kind of answer and not a word of it: answers of one kind differ from others in
    length, opening and wording.
    """
    declared = {term.casefold() for term in terms}
    return np.asarray(table["presence"][:, [name in declared for name in PRESENCE]], dtype=np.int8)


def alike(table: PairTable, terms: Sequence[str]) -> NDArray[np.bool_]:
    """(N,): pairs whose answers are alike in every declared kind: both are of it, or neither."""
    return np.asarray(~kinds(table, terms).any(axis=1), dtype=np.bool_)


def cut(text: str, terms: Sequence[str]) -> str:
    """`text` with every intended term replaced by a mark that is no word."""
    for term in terms:
        for start, end in reversed(_spans(term)(text)):
            text = text[:start] + CUT + text[end:]
    return text


@cache
def _spans(term: str) -> Callable[[str], list[Span]]:
    """Where a term stands in a text; of a property the marks or sentences that it consists of."""
    name = term.casefold()
    if name in {*PRESENCE, *AMOUNTS, "length"}:
        return property_spans(name) or (lambda text: [])
    if len(term) > 2 and term.startswith("/") and term.endswith("/"):
        pattern = re.compile(term[1:-1])
    else:
        whole_word = words(term) == [name] and term.isascii()
        pattern = re.compile(rf"(?i)(?<!\w){re.escape(term)}(?!\w)" if whole_word else f"(?i){re.escape(term)}")
    return lambda text: [match.span() for match in pattern.finditer(text) if match.end() > match.start()]

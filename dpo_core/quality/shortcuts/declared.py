"""The declared aim of a run: its terms, where they stand in an answer, and the features that are pieces of them.

A term of `validation.intended` is a word or phrase, a regular expression between slashes, or the name of a feature:
`length`, `refusal`, `list`, `language`, ... (`surface.PRESENCE`, `surface.AMOUNTS`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.check import Block
from dpo_core.quality.features.feature_tests import Separation
from dpo_core.quality.features.ngrams import Feature, stands
from dpo_core.quality.stats.sign_tests import sign_test
from dpo_core.quality.table import Columns
from dpo_core.quality.text.refusals import Span
from dpo_core.quality.text.surface import AMOUNTS, LENGTHS, PRESENCE, amounts_of, presence_of, property_spans
from dpo_core.quality.words import count_words, words

CUT = " \x1a "  # stands for what was cut out; no word, and no word reaches across it
LANGUAGE = "language"  # as a term: in which language an answer is
FEATURES = frozenset({*PRESENCE, *AMOUNTS, "length", LANGUAGE})  # terms that are no words: "code" is a block of it
LEFT_OVER = 0.1  # share of its pairs in which a piece may still separate the sides
CHANCE = 0.01  # p of what is left, above which it is chance
LOOKED_AT = 200  # pairs
Fetch = Callable[[NDArray[np.intp]], list[Pair]]  # pairs by their place in a feature's d
_OWN_OPENING = {"refusal opening": "refusal"}  # a refusal at the beginning is a refusal


def declared_columns(block: Block) -> Columns:
    """`intended`: (N, terms) int8, 1 where only the chosen side has the term, -1 where only the rejected side."""
    spans = [_spans(term) for term in block.validation.intended]
    answers = (text for place, text in enumerate(block.strings) if place % 3)  # not the prompts
    found = [[bool(span(text)) for span in spans] for text in answers]
    there = np.array(found, dtype=np.int8).reshape(len(block), 2, len(spans))
    return {"intended": there[:, 0] - there[:, 1]}


def declared_features(separation: Separation, terms: Sequence[str], features: Mapping[int, Feature]) -> set[int]:
    """Those of `features` (columns of the separation) that are declared, or pieces of what is."""
    return {
        column
        for column, feature in features.items()
        if names_feature(feature, terms) or is_piece(feature, separation.column(column), terms, separation.fetch)
    }


def names_feature(feature: Feature, terms: Sequence[str]) -> bool:
    """Whether a term is this very feature."""
    declared = {term.casefold() for term in terms}
    name = feature.text.casefold()
    if feature.kind == "amount" and feature.text in LENGTHS:
        return bool({"length", feature.text} & declared)
    if feature.kind in ("property", "amount"):
        return name in declared or _OWN_OPENING.get(name) in declared
    return feature.kind in ("word", "token") and name.strip() in declared - FEATURES


def is_piece(feature: Feature, d: NDArray[np.int8], terms: Sequence[str], fetch: Fetch) -> bool:
    """Whether a feature no longer separates the sides once the terms are cut out of both answers.

    `d`: (N,) of the feature. What is left of it is chance by the sign test, or in at most a tenth of its pairs.
    """
    there = np.flatnonzero(d)
    if not len(terms) or not len(there):
        return False
    left = left_over(feature, there, terms, fetch)
    towards = np.sign(np.sum(d, dtype=np.int64))
    same, other = np.array([np.sum(left == towards)]), np.array([np.sum(left == -towards)])
    return bool(same <= LEFT_OVER * len(left) or same <= other or sign_test(same, other) > CHANCE)


def left_over(feature: Feature, places: NDArray[np.intp], terms: Sequence[str], fetch: Fetch) -> NDArray[np.int8]:
    """The feature's d in (at most 200 of) the pairs at `places`, with the terms cut out of both answers."""
    looked = places[:: max(1, len(places) // LOOKED_AT)][:LOOKED_AT]
    left = [
        np.sign(
            _amount(feature, cut(text_of(pair.chosen), terms)) - _amount(feature, cut(text_of(pair.rejected), terms))
        )
        for pair in fetch(looked)
    ]
    return np.array(left, dtype=np.int8)


def cut(text: str, terms: Sequence[str]) -> str:
    """`text` with every declared term replaced by a mark that is no word."""
    for term in terms:
        for start, end in reversed(_spans(term)(text)):
            text = text[:start] + CUT + text[end:]
    return text


def _amount(feature: Feature, text: str) -> int:
    """How much of the feature a text has when terms were cut out of it; tokens by their spelling."""
    kind, wanted = feature
    if kind == "amount":
        text = text.replace(CUT, "")
        return amounts_of(text, count_words(text))[AMOUNTS.index(wanted)]
    if kind == "property":
        return int(presence_of(text, amounts_of(text, 0))[PRESENCE.index(wanted)])
    if "token" in kind:
        return int(text.startswith(wanted) if kind == "first_token" else wanted in text)
    mark = CUT.strip()
    if (kind == "first_word" and text.strip()[:1] == mark) or (kind == "last_word" and text.strip()[-1:] == mark):
        return 0
    return int(any(stands(feature, part) for part in text.split(mark)))


@cache
def _spans(term: str) -> Callable[[str], list[Span]]:
    """Where a term stands in a text; of a property the marks or sentences that it consists of."""
    name = term.casefold()
    if name in FEATURES:
        return property_spans(name) or (lambda text: [])
    if len(term) > 2 and term.startswith("/") and term.endswith("/"):
        pattern = re.compile(term[1:-1])
    else:
        whole_word = words(term) == [name] and term.isascii()
        pattern = re.compile(rf"(?i)(?<!\w){re.escape(term)}(?!\w)" if whole_word else f"(?i){re.escape(term)}")
    return lambda text: [match.span() for match in pattern.finditer(text) if match.end() > match.start()]

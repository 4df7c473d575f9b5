"""Pieces of what is declared: features that are gone when the declared terms are cut out of the answers."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.shortcuts.declared import CUT, cut
from dpo_core.quality.shortcuts.features import Feature, stands
from dpo_core.quality.stats.sign_tests import sign_test
from dpo_core.quality.text.surface import AMOUNTS, PRESENCE, amounts_of, presence_of
from dpo_core.quality.text.words import count_words

LEFT_OVER = 0.1  # share of its pairs in which a piece may still separate the sides
CHANCE = 0.01  # p of what is left, above which it is chance
LOOKED_AT = 200  # pairs


Fetch = Callable[[NDArray[np.intp]], list[Pair]]  # pairs by their place in a feature's d


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

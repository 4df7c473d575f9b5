"""Findings that only say another one again: a word, the token that spells it, the pair of words that it stands in."""

from collections.abc import Sequence

import numpy as np

from dpo_core.quality.shortcuts.features import Feature
from dpo_core.quality.tested import Separation
from dpo_core.quality.text.words import words

SAME_PAIRS = 0.8  # share of the first one's pairs in which a repeat differs the same way
KINDS = ("property", "first_word", "last_word", "word", "token", "first_token", "word_pair", "token_pair")


def without_repeats(
    separation: Separation, columns: Sequence[int], features: dict[int, Feature]
) -> dict[int, list[int]]:
    """`columns` in order, each with the later ones that only say it again.

    Those have a text that holds its text or is part of it, and differ where it differs.
    """
    told: dict[int, list[int]] = {}
    known = {column: separation.column(column) for column in columns}
    for column in columns:
        rows = np.flatnonzero(known[column])
        for first, repeats in told.items():
            if (
                _same_text(features[first], features[column])
                and np.mean(known[first][rows] == known[column][rows]) >= SAME_PAIRS
            ):
                repeats.append(column)
                break
        else:
            told[column] = []
    return told


def plainness(feature: Feature) -> tuple[int, str]:
    """Orders features of equal strength: what people read most easily comes first."""
    return KINDS.index(feature.kind), feature.text


def _same_text(left: Feature, right: Feature) -> bool:
    """Whether one is part of the other: word by word, tokens by spelling."""
    a, b = left.text.strip().casefold(), right.text.strip().casefold()
    if not a or not b:
        return False
    if "property" in (left.kind, right.kind):  # an exclamation mark and the token '!'
        return not words(a) or not words(b)
    if "token" in left.kind or "token" in right.kind:
        return a in b or b in a
    return set(words(a)) <= set(words(b)) or set(words(b)) <= set(words(a))

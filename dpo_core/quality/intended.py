"""Which features are the declared aim of a run, and which merely come along with it."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from dpo_core.quality.features import CJK, Feature, words

SAME_PAIRS = 0.9  # share of a piece's discordant pairs in which the intended word differs the same way


def phrases_of(intended: Iterable[str]) -> list[str]:
    """The declared words that are not one plain word (Chinese, several words): looked for as they stand."""
    terms = [term.casefold() for term in intended]
    return [term for term in terms if CJK.search(term) or words(term) != [term]]


def intended_features(
    features: Sequence[Feature], d: sparse.csr_array, candidates: Iterable[int], intended: Iterable[str]
) -> set[int]:
    """Those of `candidates` (columns of `d`) that are an intended word, or a piece or place of one.

    A token, a boundary word or a Chinese character counts only if nearly all pairs in which it differs are pairs in
    which the intended word differs the same way; another word never does.
    """
    terms = {term.casefold() for term in intended}
    homes = {text: column for column, (kind, text) in enumerate(features) if kind == "word" and text in terms}
    columns = sparse.csc_array(d)
    aims = {term: columns[:, [column]].toarray().ravel() for term, column in homes.items()}

    def is_intended(column: int) -> bool:
        if column in homes.values():
            return True
        piece = columns[:, [column]].toarray().ravel()
        rows = np.flatnonzero(piece)
        return any(
            _piece_of(features[column], term) and np.mean(aim[rows] == piece[rows]) >= SAME_PAIRS
            for term, aim in aims.items()
        )

    return {column for column in candidates if is_intended(column)}


def _piece_of(feature: Feature, term: str) -> bool:
    """Whether a feature can be part of `term` as it is written: by kind and spelling alone."""
    kind, text = feature[0], feature[1].strip().casefold()
    if kind == "property" or not text:
        return False
    if CJK.search(term):  # no spaces: a neighbour's character may share the piece; U+FFFD is part of a character
        return text in term or term in text or text[-1] == term[0] or text[0] == term[-1] or "\ufffd" in text
    return text in term or term in text if kind == "token" else text in words(term)

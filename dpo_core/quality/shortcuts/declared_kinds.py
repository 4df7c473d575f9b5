"""Declared kinds of answers, such as refusals: their natural signs, and what is merely confounded with them.

A kind is a property (`surface.PRESENCE`), not a word: answers of one kind share words, openings and lengths. Where both
answers of a pair are of the kind, or neither, the kind decides nothing, and what still separates the sides there has
another cause. So it is with `language`: it decides nothing where both answers are in the same one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from dpo_core.quality.features.feature_tests import ERROR, Bools, Counts, Separation
from dpo_core.quality.features.ngrams import Feature
from dpo_core.quality.shortcuts.declared import LANGUAGE, left_over
from dpo_core.quality.stats.given_length import adjusted_z
from dpo_core.quality.stats.shared_answers import paired_p
from dpo_core.quality.stats.sign_tests import by_cluster, false_discovery, signs
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.surface import PRESENCE

CONFOUNDED = 0.5  # share of the pairs that differ in a kind, in which a confounded feature differs the same way


def kind_sides(table: PairTable, terms: Sequence[str]) -> NDArray[np.int8]:
    """(N, declared kinds): 1 where only the chosen answer is of that kind, -1 where only the rejected one is.

    Of `language`, the last one: 1 where the answers are in two; which of them is right, only the prompt says.
    """
    declared = {term.casefold() for term in terms}
    sides = np.asarray(table["presence"][:, [name in declared for name in PRESENCE]], dtype=np.int8)
    if LANGUAGE not in declared:
        return sides
    differ = table["language_chosen"] != table["language_rejected"]
    return np.column_stack([sides, differ.astype(np.int8)])


def alike(table: PairTable, terms: Sequence[str]) -> Bools:
    """(N,): pairs whose answers are alike in every declared kind: both are of it, or neither."""
    return np.asarray(~kind_sides(table, terms).any(axis=1), dtype=np.bool_)


@dataclass(frozen=True)
class DeclaredKinds:
    """The declared kinds of the sampled pairs. `sides`: (pairs, kinds), 1 where only the chosen answer is of it."""

    separation: Separation
    terms: Sequence[str]
    sides: NDArray[np.int8]

    @classmethod
    def of(cls, separation: Separation, terms: Sequence[str]) -> "DeclaredKinds":
        """What the sampled pairs are, by the kinds of answers that `terms` declare."""
        return cls(separation, terms, kind_sides(separation.table, terms)[separation.grams.rows])

    @property
    def alike(self) -> Bools:
        """Pairs whose answers are alike in every declared kind."""
        return np.asarray(~self.sides.any(axis=1), dtype=np.bool_)

    def explain(self, features: Mapping[int, Feature]) -> set[int]:
        """Those of `features` (columns of the separation, none of them a piece of the terms) that a kind explains.

        They do not separate the sides of the pairs that are alike, given the lengths (Benjamini-Hochberg over
        `features`), and do not stand by nearly every answer of the kind, as a planted mark would.
        """
        columns = list(features)
        if not columns or self.alike.all():
            return set()
        separating = separating_within(self.separation, columns, np.flatnonzero(self.alike)).tolist()
        return {
            column
            for column, separates in zip(columns, separating, strict=True)
            if not (separates or self._is_confounded(column, features[column]))
        }

    def _is_confounded(self, column: int, feature: Feature) -> bool:
        """Whether it stands by the answers of a kind, outside of the kind's own words."""
        d = self.separation.column(column)
        for side in self.sides.T:
            apart = np.count_nonzero(side)
            same = np.flatnonzero(d * side > 0)
            if len(same) > CONFOUNDED * apart:
                left = left_over(feature, same, self.terms, self.separation.fetch)
                if np.count_nonzero(left) / len(left) * len(same) > CONFOUNDED * apart:
                    return True
        return False


def separating_within(separation: Separation, columns: Sequence[int], rows: Counts) -> Bools:
    """Which of `columns` separate the sides of the pairs `rows` in the direction that they have over all pairs."""
    if not len(rows):
        return np.zeros(len(columns), dtype=np.bool_)
    towards = np.sign(separation.scores.z[list(columns)])
    d, clusters = sparse.csr_array(separation.d[rows][:, list(columns)]), separation.clusters[rows]
    plus, minus = signs(d)
    p = np.maximum(*paired_p(d, by_cluster(d, clusters), clusters, separation.answers[rows], below=ERROR))
    z = adjusted_z(d, clusters, separation.length_terms[rows])
    p = np.where(np.sign(plus - minus) == towards, np.maximum(p, 2 * special.ndtr(-z * towards)), 1.0)
    return np.asarray(false_discovery(np.minimum(p, 1.0)) <= ERROR, dtype=np.bool_)

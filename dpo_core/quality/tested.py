"""Every property, word and token of the sampled pairs, tested: what the checks for shortcuts read from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.data.pairs import Pair
from dpo_core.quality.pieces import is_piece
from dpo_core.quality.prompts.identity import prompt_clusters
from dpo_core.quality.shortcuts.declared import names_feature
from dpo_core.quality.shortcuts.feature_tests import LIKELY_COVERAGE, Counts, Floats, Scores, score
from dpo_core.quality.shortcuts.features import LEAST, Feature, GramTable, spell
from dpo_core.quality.stats.given_length import length_terms
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.surface import PRESENCE

TokenText = Callable[[int], str]  # the text of one token id


@dataclass(frozen=True)
class Separation:
    """What was tested on the sampled pairs, and what came out.

    Columns of `d` are the properties (`surface.PRESENCE`), then the words and tokens that could matter; `grams` holds
    the latter alone, in the same order.
    """

    table: PairTable
    grams: GramTable
    d: sparse.csr_array
    clusters: Counts
    terms: Floats
    scores: Scores
    token_text: TokenText | None

    def features(self, columns: Sequence[int]) -> dict[int, Feature]:
        """What these columns of `d` are."""
        own = len(PRESENCE)
        spelt = spell(self.table, self.grams, [column - own for column in columns if column >= own], self.token_text)
        properties = {column: Feature("property", PRESENCE[column]) for column in columns if column < own}
        return {**properties, **{column + own: feature for column, feature in spelt.items()}}

    def column(self, column: int) -> NDArray[np.int8]:
        """One feature's d of every sampled pair."""
        return np.asarray(self.d[:, [column]].toarray().ravel(), dtype=np.int8)

    def intended(self, terms: Sequence[str], features: dict[int, Feature]) -> set[int]:
        """Those of `features` that are declared, or pieces of what is."""
        return {
            column
            for column, feature in features.items()
            if names_feature(feature, terms) or is_piece(feature, self.column(column), terms, self.fetch)
        }

    def fetch(self, places: NDArray[np.intp]) -> list[Pair]:
        """Sampled pairs by their place."""
        return self.table.rows(self.grams.rows[places].tolist())


def separate(table: PairTable, grams: GramTable, token_text: TokenText | None = None) -> Separation:
    """Test every property, word and token of the sampled pairs."""
    often = np.bincount(grams.d.indices, minlength=len(grams.keys)) >= max(LEAST, LIKELY_COVERAGE * len(grams.rows))
    tested = GramTable(grams.rows, grams.keys[often], sparse.csr_array(grams.d[:, np.flatnonzero(often)]))
    properties = sparse.csr_array(table["presence"][grams.rows])
    d = sparse.csr_array(sparse.hstack([properties, tested.d], format="csr"))
    clusters = prompt_clusters(table, grams.rows)
    terms = length_terms(table["log_length"][grams.rows])
    return Separation(table, tested, d, clusters, terms, score(d, clusters, terms), token_text)

"""What rules that understand nothing reach on the held-out pairs: an accuracy says something only above them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.shortcuts.probe import fit_weights
from dpo_core.quality.words import words

LEARNT_FROM = 20_000  # pairs at most
RIDGE = 100.0  # as the probe of words has it


def trivial_rules(trained: Sequence[Pair], held_out: Sequence[Pair]) -> dict[str, list[float]]:
    """Of each held-out pair whether a rule picks the chosen answer (1, 0; one half where it cannot tell).

    `longer answer`: the one with more characters. `bag of words`: logistic regression on which words stand in one
    answer and not in the other, learnt from the pairs that were trained on; it never sees the prompt.
    """
    rules = {"longer answer": [len(text_of(p.chosen)) - len(text_of(p.rejected)) for p in held_out]}
    if trained and held_out:
        rules["bag of words"] = _bag_of_words(trained[:LEARNT_FROM], held_out).tolist()
    return {name: [0.5 + 0.5 * float(np.sign(score)) for score in scores] for name, scores in rules.items()}


def _bag_of_words(trained: Sequence[Pair], held_out: Sequence[Pair]) -> NDArray[np.float64]:
    """Log-odds of the chosen answer."""
    vectorizer = CountVectorizer(analyzer=words, binary=True)
    vectorizer.fit([text_of(side) for pair in trained for side in (pair.chosen, pair.rejected)])

    def differences(pairs: Sequence[Pair]) -> sparse.csr_array:
        sides = ([text_of(pair.chosen) for pair in pairs], [text_of(pair.rejected) for pair in pairs])
        chosen, rejected = (sparse.csr_array(vectorizer.transform(texts), dtype=np.float64) for texts in sides)
        return sparse.csr_array(chosen - rejected)

    return np.asarray(differences(held_out) @ fit_weights(differences(trained), RIDGE), dtype=np.float64)

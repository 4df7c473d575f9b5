"""Two estimates of the KL divergence whose expectation is the divergence itself."""

import itertools

import numpy as np
import pytest
from scipy.stats import entropy

from tasks.evaluation.divergence import _k1, _k3


def test_both_estimates_have_the_divergence_as_their_expectation_and_k3_varies_less_and_is_never_negative():
    ours, theirs = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.4, 0.3, 0.2, 0.1])
    answers = [list(answer) for answer in itertools.product(range(4), repeat=2)]  # of two tokens each
    rows = [(np.log(ours[answer]), np.log(theirs[answer])) for answer in answers]
    chance = np.array([ours[answer].prod() for answer in answers])
    k1, k3 = (np.array([estimate(*row) for row in rows]) for estimate in (_k1, _k3))
    assert chance @ k1 == pytest.approx(2 * entropy(ours, theirs))
    assert chance @ k3 == pytest.approx(2 * entropy(ours, theirs))
    assert min(k3) >= 0 > min(k1)
    assert chance @ np.square(k3 - chance @ k3) < chance @ np.square(k1 - chance @ k1)

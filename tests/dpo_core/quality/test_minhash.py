"""Shingles and MinHash against plain sets of strings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.quality.text.minhash import (
    BANDS,
    BINS,
    SHINGLE,
    bands,
    jaccard,
    links,
    shingle_sets,
    signatures,
)
from dpo_core.quality.words import word_hashes

WORDS = st.lists(st.sampled_from([f"w{n}" for n in range(40)]), max_size=30)


def plain_shingles(words):
    return {tuple(words[at : at + SHINGLE]) for at in range(max(len(words) - SHINGLE + 1, 1))} if words else set()


@settings(max_examples=60)
@given(WORDS, WORDS)
def test_jaccard_of_hashed_shingles_is_that_of_plain_sets(one, other):
    left, right = plain_shingles(one), plain_shingles(other)
    expected = len(left & right) / max(len(left | right), 1)
    assert jaccard(*shingle_sets([" ".join(one), " ".join(other)])) == pytest.approx(expected)


@pytest.mark.parametrize("overlap", [0.3, 0.6, 0.8, 0.95])
def test_share_of_equal_bins_estimates_the_jaccard_index(overlap):
    # |A| = |B| = 400 with c in common: J = c / (800 - c). 60 pairs of 80 bins: standard error below
    rng = np.random.default_rng(7)
    common = round(800 * overlap / (1 + overlap))
    rounds = 60
    sets = rng.integers(0, 2**64, size=(rounds, 800 - common), dtype=np.uint64)
    left, right = sets[:, :400], sets[:, 400 - common :]
    one, other = (
        signatures(side.ravel(), np.repeat(np.arange(rounds), side.shape[1]), rounds, BINS) for side in (left, right)
    )
    error = np.sqrt(overlap * (1 - overlap) / (rounds * BINS))
    assert np.mean(one == other) == pytest.approx(overlap, abs=4 * error)


def test_bands_meet_as_often_as_the_formula_says():
    # answers alone, J = .8: 1 - (1 - .8^5)^16 = .9983; J = .3: .038
    rng = np.random.default_rng(8)
    rounds = 300
    for overlap, low, high in ((0.8, 0.98, 1.0), (0.3, 0.0, 0.08)):
        common = round(800 * overlap / (1 + overlap))
        sets = rng.integers(0, 2**64, size=(rounds, 800 - common), dtype=np.uint64)
        keys = [
            bands(signatures(side.ravel(), np.repeat(np.arange(rounds), 400), rounds, BINS))
            for side in (sets[:, :400], sets[:, 400 - common :])
        ]
        assert keys[0].shape == (rounds, BANDS)
        assert low <= (keys[0] == keys[1]).any(axis=1).mean() <= high


def test_sets_of_one_shingle_meet_only_if_it_is_the_same():
    hashes = word_hashes(["a", "a", "b"])
    keys = bands(signatures(hashes, np.arange(3), 3, BINS))
    assert (keys[0] == keys[1]).all()
    assert not (keys[0] == keys[2]).any()


def test_links_grow_linearly_within_one_band():
    keys = np.ones((1000, BANDS), dtype=np.uint32)
    later, earlier = links(keys, np.ones(1000, dtype=bool))
    assert (earlier < later).all()
    assert len(later) == 1997  # each but the first with the one before and with the first: 999 + 998


def test_rows_without_words_meet_nobody():
    keys = np.zeros((5, BANDS), dtype=np.uint32)
    assert len(links(keys, np.ones(5, dtype=bool))[0]) == 0

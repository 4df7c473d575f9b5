"""Who is held out: by what is asked; once put on a side, for good."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.data.splits import SplitSides, held_out_rows

KEYS = st.lists(st.integers(0, 2**62), min_size=2, max_size=60, unique=True)


def keys_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**63 - 1, count)


def split(keys, groups=None, known=None):
    keys = np.asarray(keys, dtype=np.int64)
    return held_out_rows(keys, keys if groups is None else np.asarray(groups), known or SplitSides.none())


def put(trained=(), held_out=()):
    return SplitSides.of(
        np.array([*trained, *held_out], dtype=np.int64), np.arange(len(trained) + len(held_out)) >= len(trained)
    )


@given(KEYS)
def test_neither_side_is_empty(keys):
    assert 0 < split(keys).sum() < len(keys)


@given(KEYS, st.randoms())
def test_the_order_of_rows_moves_nobody(keys, random):
    sides = dict(zip(keys, split(keys), strict=True))
    random.shuffle(keys)
    assert dict(zip(keys, split(keys), strict=True)) == sides


def test_a_tenth_is_held_out():
    assert split(keys_of(20_000)).mean() == pytest.approx(0.1, abs=4 * (0.09 / 20_000) ** 0.5)


def test_large_groups_are_held_out_no_more_often_than_small_ones():
    """The lowest of fifty keys is low: taken for a place as it is, nearly every group of fifty would be held out."""
    held_out = split(keys_of(50_000), groups=np.repeat(np.arange(1000), 50))
    assert held_out.mean() == pytest.approx(0.1, abs=4 * (0.09 / 1000) ** 0.5)


def test_rows_of_one_group_stay_together():
    held_out = split(keys_of(300), groups=np.repeat(np.arange(100), 3)).reshape(100, 3)
    assert (held_out.all(axis=1) == held_out.any(axis=1)).all()


def test_what_has_a_side_keeps_it_whatever_is_added_or_taken_away():
    keys = keys_of(400)
    first = split(keys[:200])
    known = SplitSides.of(keys[:200], first)
    later = np.concatenate([keys[300:], keys[100:300]])
    assert (split(later, known=known)[100:200] == first[100:]).all()


def test_a_new_prompt_goes_where_its_group_is():
    assert split([1, 2, 3, 4], groups=[0, 0, 1, 1], known=put(trained=[1], held_out=[3])).tolist() == [0, 0, 1, 1]


def test_groups_that_grow_together_move_nobody_and_what_joins_them_is_trained_on():
    assert split([1, 2, 3], groups=[0, 0, 0], known=put(trained=[1], held_out=[2])).tolist() == [False, True, False]


def test_what_was_ever_trained_on_is_never_held_out():
    known = put(held_out=[5, 6]).with_more(put(trained=[5]))
    is_known, held_out = known.of_rows(np.array([5, 6, 7]))
    assert (is_known.tolist(), held_out.tolist()) == ([True, True, False], [False, True, False])


def test_only_what_is_new_or_has_changed_is_recorded():
    known, found = put(trained=[1, 2], held_out=[3]), put(trained=[1, 3], held_out=[4])
    new = found.without(known)
    assert (new.keys.tolist(), new.held_out.tolist()) == ([3, 4], [False, True])

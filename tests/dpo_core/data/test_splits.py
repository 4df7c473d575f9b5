import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.data.splits import held_out_places, place_of


def held_out(prompts):
    return held_out_places(np.array([place_of(prompt) for prompt in prompts]))


@given(st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=60, unique=True))
def test_neither_side_is_empty(prompts):
    out = held_out(prompts)
    assert 0 < out.sum() < len(prompts)


def test_rows_of_one_prompt_stay_together():
    out = held_out([f"Question {i % 50}" for i in range(100)])
    assert out[:50].tolist() == out[50:].tolist()


def test_adding_rows_moves_nobody():
    before, after = (held_out([f"Question {i}" for i in range(count)]) for count in (200, 300))
    assert after[:200].tolist() == before.tolist()
    assert 15 <= after.sum() <= 45  # a tenth of 300, binomial

from hypothesis import given
from hypothesis import strategies as st

from dpo_core.data.pairs import Pair
from dpo_core.data.splits import split_held_out


def pair(prompt, answer="a"):
    return Pair(({"role": "user", "content": prompt},), ({"role": "assistant", "content": answer},), ())


@given(
    st.lists(
        st.text(min_size=1, max_size=5), min_size=2, max_size=60, unique_by=lambda t: " ".join(t.split()).casefold()
    )
)
def test_every_pair_is_on_one_side_and_neither_side_is_empty(prompts):
    pairs = [pair(prompt) for prompt in prompts]
    train, held_out = split_held_out(pairs)
    assert sorted(p.id for p in (*train, *held_out)) == sorted(p.id for p in pairs)
    assert train
    assert held_out


def test_rows_of_one_prompt_stay_together_whatever_its_case_and_spaces():
    pairs = [pair(f"Question {i}", "a") for i in range(50)] + [pair(f"question  {i} ", "b") for i in range(50)]
    _, held_out = split_held_out(pairs)
    names = [" ".join(p.prompt[0]["content"].split()).casefold() for p in held_out]
    assert len(names) == 2 * len(set(names))


def test_adding_rows_moves_nobody():
    pairs = [pair(f"Question {i}") for i in range(300)]
    before = {p.id for p in split_held_out(pairs[:200])[1]}
    after = {p.id for p in split_held_out(pairs)[1]}
    assert before == after & {p.id for p in pairs[:200]}
    assert 15 <= len(after) <= 45  # a tenth of 300, binomial

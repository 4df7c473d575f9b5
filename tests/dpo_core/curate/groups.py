"""Groups of scored answers, made by hand or by hypothesis."""

from hypothesis import strategies as st

from dpo_core.curate.choice import Candidate, Group

FRUIT = ("apple", "pear", "plum", "fig", "lime", "kiwi", "date", "melon", "mango", "peach")
FRUIT += ("grape", "lemon", "cherry", "quince", "papaya", "guava")


def group(key, *scored):
    """Answers of (score, number of words), all different in their words."""
    candidates = [
        Candidate(" ".join(f"{FRUIT[place]}{key}{n}" for n in range(size)), score, size)
        for place, (score, size) in enumerate(scored)
    ]
    return Group(f"p{key}", tuple(candidates))


@st.composite
def groups(draw, most=12, answers=4):
    """Groups with scores from a coarse grid and lengths of 1 to 6 words."""
    scored = st.tuples(st.integers(0, 4).map(lambda n: n / 4), st.integers(1, 6))
    sizes = st.lists(scored, min_size=0, max_size=answers)
    return [group(key, *made) for key, made in enumerate(draw(st.lists(sizes, min_size=0, max_size=most)))]

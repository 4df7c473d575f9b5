"""Data sets with one planted artefact each, and null sets: cases A to M of the reference study.

Each is a function of a seed and gives pairs; labels are random apart from the plant.
"""

import numpy as np

from dpo_core.data.pairs import EncodedPair, text_of
from tests.dpo_core.quality.quality_data import FREQUENCY, answer, as_pairs, make_pair, null_texts

TYPES = ("write a function that sorts numbers in python", "tell a story about an old dragon and a village")


def null(seed: int, count: int = 600) -> list[EncodedPair]:
    """A: answers of random words and lengths."""
    rng = np.random.default_rng([seed, 1])
    lengths = rng.integers(10, 60, size=(count, 2))
    return as_pairs([[answer(rng, int(n)) for n in sides] for sides in lengths])


def best_of(seed: int, prompts: int = 150, others: int = 4) -> list[EncodedPair]:
    """G: several pairs share one chosen answer, so they depend on each other; no feature matters."""
    rng = np.random.default_rng([seed, 2])
    pairs = []
    for number in range(prompts):
        best = answer(rng)
        pairs += [make_pair(f"prompt {number}", best, answer(rng)) for _ in range(others)]
    return pairs


def ranked(seed: int, prompts: int = 120, answers: int = 4) -> list[EncodedPair]:
    """A null set too: every pair of four answers to a prompt, ranked at random."""
    rng = np.random.default_rng([seed, 3])
    pairs = []
    for number in range(prompts):
        texts = [answer(rng, int(rng.integers(10, 60))) for _ in range(answers)]
        pairs += [
            make_pair(f"prompt {number}", texts[i], texts[j]) for i in range(answers) for j in range(i + 1, answers)
        ]
    return pairs


def styled(seed: int, count: int = 500) -> list[EncodedPair]:
    """A null set too: each answer is plain or marked up, polite or not, at random."""
    rng = np.random.default_rng([seed, 4])
    return as_pairs([[_styled(rng), _styled(rng)] for _ in range(count)])


def clustered(seed: int, prompts: int = 160) -> list[EncodedPair]:
    """A null set too: 1 to 10 pairs a prompt, which share an answer, or the answers, or nothing but the prompt.

    Answers to a prompt have words of that prompt in common, some of them by the answer.
    """
    rng = np.random.default_rng([seed, 13])
    pairs = []
    for number in range(prompts):
        count, topic = int(rng.integers(1, 11)), answer(rng, 12)

        def write(topic: str = topic) -> str:
            said = rng.permutation(topic.split())[: int(rng.integers(2, 9))]
            return f"{answer(rng, int(rng.integers(10, 60)))} {' '.join(said)}"

        kind = int(rng.integers(4))
        if kind == 0:  # the best against all others
            one = write()
            sides = [(one, write()) for _ in range(count)]
        elif kind == 1:  # all others against the worst
            one = write()
            sides = [(write(), one) for _ in range(count)]
        elif kind == 2:  # some pairs of a few answers, the better first
            ranked = [write() for _ in range(5)]
            all_pairs = [(ranked[i], ranked[j]) for i in range(5) for j in range(i + 1, 5)]
            sides = [all_pairs[k] for k in rng.choice(10, size=count, replace=False).tolist()]
        else:
            sides = [(write(), write()) for _ in range(count)]
        pairs += [make_pair(f"prompt {number}", *two) for two in sides]
    return pairs


def clustered_word(
    seed: int, share: float, purity: float = 1.0, prompts: int = 160, *, whole: bool = False
) -> list[EncodedPair]:
    """A word at the end of an answer in a share of the pairs of such a set, drawn as in `word`.

    `whole`: in all copies of the answer, else in this pair's alone.
    """
    rng = np.random.default_rng([seed, 14])
    texts = [
        (p.pair.prompt[0]["content"], text_of(p.pair.chosen), text_of(p.pair.rejected))
        for p in clustered(seed, prompts)
    ]
    size = int(rng.binomial(len(texts), share))
    marked: dict[tuple[str, str], None] = {}
    pairs = [list(text) for text in texts]
    for row in rng.choice(len(texts), size=size, replace=False).tolist():
        side = 1 + int(rng.random() >= purity)
        marked[texts[row][0], texts[row][side]] = None
        pairs[row][side] += " zebra"
    if whole:
        pairs = [
            [asked, *(f"{text} zebra" if (asked, text) in marked else text for text in sides)]
            for asked, *sides in texts
        ]
    return [make_pair(*pair) for pair in pairs]


def _styled(rng: np.random.Generator) -> str:
    text = answer(rng, int(rng.integers(10, 80)))
    if rng.random() < 0.3:
        text = "\n".join(f"- {part}" for part in text.split(" w1 "))
    if rng.random() < 0.2:
        text = "Sure, " + text + "!"
    return text + "." * int(rng.integers(2)) + " " * int(rng.random() < 0.1)


def word(seed: int, share: float, count: int = 1000, purity: float = 1.0, *, by_lot: bool = False) -> list[EncodedPair]:
    """B: a word in a share of the pairs, on the chosen side in `purity` of them. It takes another word's place.

    `by_lot`: share and purity are what each pair is drawn with, so that the counts are binomial.
    """
    rng = np.random.default_rng([seed, 5])
    texts = null_texts(seed, count)
    size = int(rng.binomial(count, share)) if by_lot else round(share * count)
    rows = rng.choice(count, size=size, replace=False).tolist()
    right = int(rng.binomial(size, purity)) if by_lot else round(purity * size)
    for at, row in enumerate(rows):
        side = int(at >= right)
        texts[row][side] = _put(texts[row][side], "zebra", rng)
    return as_pairs(texts)


def _put(text: str, plant: str, rng: np.random.Generator) -> str:
    """In place of a word inside the text."""
    words = text.split()
    words[int(rng.integers(1, len(words) - 1))] = plant
    return " ".join(words)


def length(seed: int, count: int = 1500, plant: str = "") -> list[EncodedPair]:
    """C: the chosen answer is 1.5 times as long; C2: and `plant` stands in 2 % of the chosen answers."""
    rng = np.random.default_rng([seed, 6])
    texts = [
        [answer(rng, int(rng.integers(20, 80) * 1.5)), answer(rng, int(rng.integers(20, 80)))] for _ in range(count)
    ]
    for row in range(0, count if plant else 0, 50):
        texts[row][0] = _put(texts[row][0], plant, rng)
    return as_pairs(texts)


def order(seed: int, count: int = 1000) -> list[EncodedPair]:
    """D: "foo bar" in chosen, "bar foo" in rejected, in the same 5 % of the pairs."""
    rng = np.random.default_rng([seed, 7])
    texts = null_texts(seed, count)
    for row in range(0, count, 20):
        texts[row] = [_put(texts[row][0], "foo bar", rng), _put(texts[row][1], "bar foo", rng)]
    return as_pairs(texts)


def position(seed: int, count: int = 1000) -> list[EncodedPair]:
    """E: "sure" first in chosen, in mid-text in rejected, in the same 5 % of the pairs."""
    rng = np.random.default_rng([seed, 8])
    texts = null_texts(seed, count)
    for row in range(0, count, 20):
        texts[row] = ["sure " + texts[row][0], _put(texts[row][1], "sure", rng)]
    return as_pairs(texts)


def trailing_space(seed: int, count: int = 600) -> list[EncodedPair]:
    """F: half of the rejected answers end in a space."""
    return as_pairs([[c, r + " " * (row % 2)] for row, (c, r) in enumerate(null_texts(seed, count))])


def conditional(seed: int, count: int = 800) -> list[EncodedPair]:
    """H: a word favours the chosen side for one type of prompt and the rejected side for the other, in 30 %."""
    rng = np.random.default_rng([seed, 9])
    pairs = []
    for row, sides in enumerate(null_texts(seed, count)):
        if rng.random() < 0.3:
            sides[row % 2] = _put(sides[row % 2], "zebra", rng)
        pairs.append(make_pair(f"{TYPES[row % 2]} number {row}", *sides))
    return pairs


def truncated(seed: int, count: int = 1000) -> list[EncodedPair]:
    """K: 15 % of the rejected answers are cut before their last sentence ends."""
    rng = np.random.default_rng([seed, 10])
    return as_pairs([[c + ".", r + "." * int(rng.random() > 0.15)] for c, r in null_texts(seed, count)])


def diffuse(seed: int, count: int = 2000) -> list[EncodedPair]:
    """L: 300 words are 1.6 times as frequent in the rejected answers."""
    rng = np.random.default_rng([seed, 11])
    frequency = FREQUENCY.copy()
    frequency[rng.choice(np.arange(20, 2000), size=450, replace=False)] *= 1.6
    up_to = (frequency / frequency.sum()).cumsum()
    return as_pairs([[answer(rng, 45), answer(rng, 45, up_to / up_to[-1])] for _ in range(count)])


def before_filter(seed: int, count: int = 1500) -> list[EncodedPair]:
    """M, before its filter `len(chosen) >= 100`: random lengths."""
    rng = np.random.default_rng([seed, 12])
    return as_pairs([[answer(rng, int(n)) for n in sides] for sides in rng.integers(5, 60, size=(count, 2))])

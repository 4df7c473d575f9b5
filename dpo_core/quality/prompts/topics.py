"""What prompts are about, roughly, for two questions.

`find_topics` compares one data set with a later one: clusters of sketches, which a stored profile may hold because no
word can be read back. `named_topics` divides one data set for people to read: clusters with their typical words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.table import Block, Columns
from dpo_core.quality.text.language import is_function_word
from dpo_core.quality.words import SINGLE, TextArray, words

BITS = 32  # of a word's hash: its direction, +1 or -1 each
TOPICS = 8
SAMPLE = 20_000  # prompts that the clusters are found on
OUTSIDE = 0.05  # share of those prompts that lie too far from every centre to belong to it
NAMED, NAMED_FROM, NAMED_WIDTH = 6, 4000, 400  # topics; prompts; words of a prompt's end that are read
Sketches = NDArray[np.int8]
Vectors = NDArray[np.float32]


class Topics(NamedTuple):
    """Clusters by their centres (topics, 32), and the least likeness (dot product) that makes a prompt belong."""

    centres: Vectors
    least: float


def topic_columns(block: Block) -> Columns:
    """`topic_sketch` (int8, 32 a pair): sum of random directions, one for each content word of the prompt, clipped."""
    return {"topic_sketch": _sketches(block.texts)[::3].copy()}


def find_topics(sketches: Sketches, *, seed: int = 0) -> Topics:
    """At most 8 clusters by k-means on directions; the same set of prompts, up to its order, gives about the same."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(sketches), min(len(sketches), SAMPLE), replace=False)
    units = _units(sketches[np.sort(chosen)])
    if not len(units):
        return Topics(units, 0.0)
    centres = np.unique(units, axis=0)
    if len(centres) > TOPICS:
        centres, labels = kmeans2(units, TOPICS, minit="++", seed=random)
        centres = centres[np.unique(labels)]
    return Topics(centres.astype(np.float32), float(np.quantile((units @ centres.T).max(axis=1), OUTSIDE)))


def topic_of(sketches: Sketches, topics: Topics, *, block: int = 100_000) -> NDArray[np.int64]:
    """The nearest topic of each prompt, or the number of topics for a prompt that is like none."""
    found = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(sketches), block):
        likeness = _units(sketches[start : start + block]) @ topics.centres.T
        outside = likeness.max(axis=1, initial=-1.0) < topics.least - 1e-3  # a stored profile is rounded
        found.append(np.where(outside, len(topics.centres), likeness.argmax(axis=1) if likeness.size else 0))
    return np.concatenate(found)


def _sketches(texts: TextArray) -> Sketches:
    words = texts.words
    content = np.flatnonzero((words.owners % 3 == 0) & ~is_function_word(words.hashes))
    directions = np.unpackbits(words.hashes[content].view(np.uint8).reshape(-1, 8)[:, : BITS // 8], axis=1)
    sums = np.zeros((len(texts), BITS), dtype=np.int64)
    owners, first = np.unique(words.owners[content], return_index=True)
    if len(owners):
        counts = np.diff(first, append=len(content))[:, None]
        sums[owners] = 2 * np.add.reduceat(directions, first, axis=0, dtype=np.int64) - counts
    return np.clip(sums, -127, 127).astype(np.int8)


def _units(sketches: Sketches) -> Vectors:
    values = sketches.astype(np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1), dtype=np.float32)


def named_topics(pairs: Sequence[Pair], *, seed: int = 0) -> tuple[NDArray[np.int64], list[str]]:
    """A group for each pair by its prompt's words (k-means on TF-IDF), and each group's most typical words.

    Learnt from at most 4,000 of them, in order. One group where prompts have no words in common.
    """
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [text_of(pair.prompt[-1:])[-8 * NAMED_WIDTH :] for pair in pairs]
    learnt = texts[:: max(1, len(texts) // NAMED_FROM)]
    asked = {"max_features": 2000, "min_df": 5, "max_df": 0.5, "sublinear_tf": True}
    reader = TfidfVectorizer(**asked, tokenizer=_telling_words, token_pattern=None, lowercase=False)
    try:
        vectors = reader.fit_transform(learnt)
    except ValueError:  # no word is in five prompts
        return np.zeros(len(texts), dtype=np.int64), ["all"]
    groups = min(NAMED, vectors.shape[0])
    means = KMeans(groups, n_init=1, random_state=seed, max_iter=50).fit(vectors)
    names = reader.get_feature_names_out()
    typical = [", ".join(names[center.argsort()[::-1][:3]]) for center in means.cluster_centers_]
    return np.asarray(means.predict(reader.transform(texts)), dtype=np.int64), typical


def _telling_words(text: str) -> list[str]:
    """Words of a topic: no single letters, but single characters of a script where each is a word."""
    return [word for word in words(text) if len(word) > 1 or SINGLE.match(word)]

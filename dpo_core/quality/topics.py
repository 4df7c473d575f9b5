"""What prompts are about, roughly: clusters of their content words, none of which can be read back."""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from dpo_core.quality.language import is_function_word
from dpo_core.quality.texts import Chunk, Texts

BITS = 24  # of a word's hash: its direction, +1 or -1 each
TOPICS = 8
SAMPLE = 20_000  # prompts that the clusters are found on
Sketches = NDArray[np.int8]
Centres = NDArray[np.float32]


def columns(chunk: Chunk) -> dict[str, NDArray[np.generic]]:
    """`topic_sketch` (int8, 24 a pair): sum of random directions, one for each content word of the prompt, clipped."""
    return {"topic_sketch": _sketches(chunk.texts)[::3].copy()}


def find_topics(sketches: Sketches, *, seed: int = 0) -> Centres:
    """Centres of at most 8 clusters by k-means on directions; the same input gives the same centres."""
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(len(sketches), min(len(sketches), SAMPLE), replace=False))
    units = np.unique(_units(sketches[chosen]), axis=0)
    if len(units) <= TOPICS:
        return units
    centres, labels = kmeans2(units, TOPICS, minit="++", seed=random)
    return np.asarray(centres[np.unique(labels)], dtype=np.float32)


def topic_of(sketches: Sketches, centres: Centres, *, block: int = 100_000) -> NDArray[np.int64]:
    """The nearest centre of each prompt."""
    nearest = [
        (_units(sketches[start : start + block]) @ centres.T - np.square(centres).sum(axis=1) / 2).argmax(axis=1)
        for start in range(0, len(sketches), block)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *nearest])


def _sketches(texts: Texts) -> Sketches:
    words = texts.words
    content = np.flatnonzero((words.owners % 3 == 0) & ~is_function_word(words.hashes))
    directions = np.unpackbits(words.hashes[content].view(np.uint8).reshape(-1, 8)[:, : BITS // 8], axis=1)
    sums = np.zeros((len(texts), BITS), dtype=np.int64)
    owners, first = np.unique(words.owners[content], return_index=True)
    if len(owners):
        counts = np.diff(first, append=len(content))[:, None]
        sums[owners] = 2 * np.add.reduceat(directions, first, axis=0, dtype=np.int64) - counts
    return np.clip(sums, -127, 127).astype(np.int8)


def _units(sketches: Sketches) -> Centres:
    values = sketches.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)

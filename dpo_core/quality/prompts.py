"""Which pairs belong together: those with the same prompt, whatever its case and spacing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair


def prompt_key(pair: Pair) -> str:
    """The prompt as compared: roles and text, case folded, runs of whitespace as one space."""
    return "\n".join(f"{m['role']}: {' '.join(m['content'].casefold().split())}" for m in pair.prompt)


def prompt_clusters(pairs: Sequence[EncodedPair]) -> NDArray[np.int64]:
    """A cluster number for each pair, equal for equal prompts; 0, 1, ... in order of appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(prompt_key(pair.pair), len(numbers)) for pair in pairs], dtype=np.int64)

"""All that these checks need to know of each pair, computed for a chunk of pairs at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality import traces
from dpo_core.quality.checks import leakage, near_duplicates, profile
from dpo_core.quality.checks import personal_data as people
from dpo_core.quality.prompts import comparisons, topics
from dpo_core.quality.prompts.index import PromptIndex
from dpo_core.quality.text import language
from dpo_core.quality.text.words import Chunk

SOURCES = (traces, comparisons, near_duplicates, language, people, profile, topics)
BLOCK = 250  # pairs whose words are looked at together: what then stays in the processor's cache


def columns(pairs: Sequence[EncodedPair], indexes: Sequence[PromptIndex] = ()) -> dict[str, NDArray[np.generic]]:
    """The columns of every module in `SOURCES`, and of leakage against `indexes`: an entry or row a pair.

    Pure, so chunks may go to other processes.
    """
    blocks = [_block(pairs[start : start + BLOCK], indexes) for start in range(0, max(len(pairs), 1), BLOCK)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _block(pairs: Sequence[EncodedPair], indexes: Sequence[PromptIndex]) -> dict[str, NDArray[np.generic]]:
    chunk = Chunk(pairs)
    found = {name: column for source in SOURCES for name, column in source.columns(chunk).items()}
    return {**found, **leakage.columns(pairs, indexes)}

"""Facts about many pairs, in columns: made a block of pairs at a time, seen by the checks all at once.

The texts stay on disk meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair, text_of
from dpo_core.quality.postings import PromptIndex
from dpo_core.quality.words import SIDES, TextArray, count_words
from dpo_core.recipe import Validation

Columns = dict[str, NDArray[Any]]  # name -> an entry (or row) a pair


class Block:
    """Some pairs, with their texts laid out: text 3i is the prompt of pair i, 3i + 1 its chosen side, 3i + 2 the other.

    What the columns of all checks are made from, so that words are cut once.
    """

    def __init__(
        self, pairs: Sequence[EncodedPair], validation: Validation, indexes: Sequence[PromptIndex] = ()
    ) -> None:
        self.pairs, self.validation, self.indexes = pairs, validation, indexes
        self.strings = [
            text_of(messages)
            for encoded in pairs
            for messages in (encoded.pair.prompt, encoded.pair.chosen, encoded.pair.rejected)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def texts(self) -> TextArray:
        """The strings, laid out."""
        return TextArray.of(self.strings)


@dataclass(frozen=True)
class PairTable:
    """N pairs. `columns`: name -> array with one entry (or row) a pair, as the columns of the checks.

    `rows` fetches pairs by their index, for evidence: a few at a time, never all.
    """

    size: int
    columns: Mapping[str, NDArray[Any]]
    rows: Callable[[Sequence[int]], list[Pair]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def __len__(self) -> int:
        return self.size


def size_columns(block: Block) -> Columns:
    """What Great Expectations looks at, and the lengths that the page shows: numbers, one a pair, and no text.

    `TEXT_characters`, `TEXT_words`, `TEXT_tokens` (0 where not encoded) of prompt, chosen and rejected, int32;
    `answers_differ`, int8.
    """
    ids = [side for p in block.pairs for side in (p.prompt_ids, p.chosen_ids, p.rejected_ids)]
    sizes = {
        "characters": [len(text) for text in block.strings],
        "words": [count_words(text) for text in block.strings],
        "tokens": [len(side) for side in ids],
    }
    found: Columns = {
        f"{side}_{kind}": np.array(counts[at::3], dtype=np.int32)
        for kind, counts in sizes.items()
        for at, side in enumerate(SIDES)
    }
    answers = zip(block.strings[1::3], block.strings[2::3], strict=True)
    found["answers_differ"] = np.array([chosen != rejected for chosen, rejected in answers], dtype=np.int8)
    return found


def joined(chunks: list[Columns]) -> Columns:
    """The columns of all chunks, in order. Takes the chunks apart, so that no column is held twice for long."""
    names = list(chunks[0]) if chunks else []
    return {name: np.concatenate([chunk.pop(name) for chunk in chunks]) for name in names}

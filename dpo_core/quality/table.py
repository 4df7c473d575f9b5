"""Facts about many pairs, in columns: what the checks look at, while the texts stay on disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair, text_of

Columns = dict[str, NDArray[Any]]
TEXTS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class PairTable:
    """N pairs. `columns`: name -> array with one entry (or row) a pair, as the modules' `columns` functions made them.

    `rows` fetches pairs by their index, for evidence: a few at a time, never all.
    """

    size: int
    columns: Mapping[str, NDArray[Any]]
    rows: Callable[[Sequence[int]], list[Pair]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def __len__(self) -> int:
        return self.size


def columns(pairs: Sequence[EncodedPair]) -> Columns:
    """What Great Expectations looks at, and the lengths that the page shows: numbers, one a pair, and no text.

    `TEXT_characters`, `TEXT_words`, `TEXT_tokens` (0 where not encoded) of prompt, chosen and rejected, int32;
    `answers_differ`, int8.
    """
    texts = [[text_of(side) for side in (p.pair.prompt, p.pair.chosen, p.pair.rejected)] for p in pairs]
    ids = [(p.prompt_ids, p.chosen_ids, p.rejected_ids) for p in pairs]
    kinds = {
        "characters": [[len(text) for text in row] for row in texts],
        "words": [[len(text.split()) for text in row] for row in texts],
        "tokens": [[len(side) for side in row] for row in ids],
    }
    arrays = {kind: np.array(rows, dtype=np.int32).reshape(len(pairs), 3) for kind, rows in kinds.items()}
    found: Columns = {f"{name}_{kind}": array[:, at] for kind, array in arrays.items() for at, name in enumerate(TEXTS)}
    found["answers_differ"] = np.array([chosen != rejected for _, chosen, rejected in texts], dtype=np.int8)
    return found


def joined(chunks: list[Columns]) -> Columns:
    """The columns of all chunks, in order. Takes the chunks apart, so that no column is held twice for long."""
    names = list(chunks[0]) if chunks else []
    return {name: np.concatenate([chunk.pop(name) for chunk in chunks]) for name in names}

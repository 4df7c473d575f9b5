"""Facts about many pairs, in columns: what the checks look at, while the texts stay on disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dpo_core.data.pairs import Pair


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

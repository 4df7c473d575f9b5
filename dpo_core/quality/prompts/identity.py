"""Which pairs belong together: those with the same prompt, and those of one origin."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair, text_of
from dpo_core.quality.table import PairTable

SAMPLE = 100_000  # pairs
ORIGINS: Mapping[str, tuple[str, ...]] = {  # column: the keys of a row's `meta` that may hold it
    "annotator": ("annotator", "annotator_id", "worker", "worker_id", "rater", "labeler", "labeller"),
    "chosen_model": ("chosen_model", "chosen-model", "chosen_system", "model_chosen", "chosen_generator"),
    "rejected_model": ("rejected_model", "rejected-model", "rejected_system", "model_rejected", "rejected_generator"),
}


def prompt_key(pair: Pair) -> str:
    """The prompt as compared: roles and text, case folded, runs of whitespace as one space."""
    return "\n".join(f"{m['role']}: {' '.join(m['content'].casefold().split())}" for m in pair.prompt)


def columns(pairs: Sequence[EncodedPair]) -> dict[str, NDArray[Any]]:
    """Facts of a chunk of pairs.

    `prompt`, `source`, `annotator`, `chosen_model`, `rejected_model`: digests (int64, 0: not given) whose names are
    read from one of their rows (`origin`). `prompt_length`: characters (int32).
    """
    rows = [pair.pair for pair in pairs]
    digests = {name: np.array([digest(origin(row, name)) for row in rows], np.int64) for name in ("source", *ORIGINS)}
    return {
        "prompt": np.array([digest(prompt_key(row)) for row in rows], np.int64),
        "prompt_length": np.array([len(text_of(row.prompt)) for row in rows], np.int32),
        **digests,
    }


def origin(pair: Pair, column: str) -> str:
    """What a row says about its source, annotator or models; empty if nothing."""
    if column == "source":
        return pair.source
    value = next((pair.meta[key] for key in ORIGINS[column] if pair.meta.get(key) is not None), "")
    return str(value)


def digest(text: str) -> int:
    """The first 63 bits of a BLAKE2b digest; 0 for the empty text."""
    if not text:
        return 0
    data = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(data, "big") >> 1


def prompt_clusters(table: PairTable, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """A cluster number for each pair (of `rows`): equal for equal prompts.

    Where the table has a column `prompt_group` (prompt_groups.py), nearly equal prompts are one cluster too.
    """
    column = table["prompt_group" if "prompt_group" in table.columns else "prompt"]
    numbers = np.unique(column if rows is None else column[rows], return_inverse=True)[1]
    return np.asarray(numbers, dtype=np.int64)


def sample_rows(prompts: NDArray[np.int64], limit: int = SAMPLE) -> NDArray[np.int64]:
    """At most about `limit` rows, in order: those of the prompts with the lowest digests, each prompt whole.

    `prompts`: the column of that name. A prompt's place depends on its text alone, so the sample is stable.
    """
    if len(prompts) <= limit:
        return np.arange(len(prompts))
    bound = np.partition(prompts, limit - 1)[limit - 1]
    return np.flatnonzero(prompts <= bound)


@runtime_checkable
class _Block(Protocol):
    """What is needed of a block of pairs."""

    pairs: Sequence[EncodedPair]


def prompt_columns(block: _Block) -> dict[str, NDArray[Any]]:
    """The same of a block."""
    return columns(block.pairs)

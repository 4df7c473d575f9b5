"""Ways to divide pairs into strata, blind to which side was chosen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.prompts.identity import origin
from dpo_core.quality.prompts.topics import named_topics
from dpo_core.quality.table import PairTable

Labels = NDArray[np.int64]
LEAST_PAIRS, MOST_LEVELS = 60, 12  # of a stratum; strata of one kind


@dataclass(frozen=True)
class Strata:
    """One way to divide N pairs. `labels`: (N,), a stratum's number, -1 where it is too small; `names` by number."""

    kind: str
    labels: Labels
    names: list[str]


def divide(table: PairTable, rows: Labels) -> list[Strata]:
    """By source, annotator, models, topic and length of the prompt; only divisions with two strata or more."""
    kinds = [
        *(_by_origin(table, rows, column) for column in ("source", "annotator")),
        _by_models(table, rows),
        _by_topic(table, rows),
        _by_prompt_length(table, rows),
    ]
    return [strata for strata in kinds if len(strata.names) > 1]


def _by_origin(table: PairTable, rows: Labels, column: str) -> Strata:
    labels, examples = _largest(table[column][rows])
    pairs = table.rows(rows[examples].tolist())
    return Strata(column, labels, [origin(pair, column) or "not given" for pair in pairs])


def _by_models(table: PairTable, rows: Labels) -> Strata:
    """By the two models, whichever of them was chosen."""
    chosen, rejected = table["chosen_model"][rows], table["rejected_model"][rows]
    labels, examples = _largest(np.minimum(chosen, rejected) * 31 + np.maximum(chosen, rejected))
    pairs = table.rows(rows[examples].tolist())
    names = [" and ".join(sorted(origin(pair, f"{side}_model") for side in ("chosen", "rejected"))) for pair in pairs]
    return Strata("models", labels, names)


def _by_topic(table: PairTable, rows: Labels) -> Strata:
    groups, typical = named_topics(table.rows(rows.tolist()))
    labels, examples = _largest(groups)
    return Strata("topic of the prompt", labels, [typical[groups[example]] for example in examples])


def _by_prompt_length(table: PairTable, rows: Labels) -> Strata:
    lengths = table["prompt_length"][rows]
    bounds = np.quantile(lengths, [1 / 3, 2 / 3]) if len(lengths) else np.zeros(2)
    labels, examples = _largest(np.searchsorted(bounds, lengths, side="left"))
    thirds = np.searchsorted(bounds, lengths[examples], side="left")
    names = [("shortest third", "middle third", "longest third")[third] for third in thirds]
    return Strata("length of the prompt", labels, names)


def _largest(values: NDArray[np.int64]) -> tuple[Labels, Labels]:
    """Number the most frequent values, the largest first; one row of each."""
    found, first, inverse, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    order = [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k] >= LEAST_PAIRS][:MOST_LEVELS]
    number = np.full(len(found), -1, dtype=np.int64)
    number[order] = np.arange(len(order))
    return number[inverse], first[order].astype(np.int64)

"""Strata of pairs, blind to which side was chosen, and sign tests of every feature within every one of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.quality.features.feature_tests import ERROR, LIKELY_COVERAGE, Bools, Counts, Floats, Separation
from dpo_core.quality.features.ngrams import LEAST
from dpo_core.quality.prompts.identity import origin
from dpo_core.quality.prompts.topics import named_topics
from dpo_core.quality.stats.given_length import adjusted_z, length_terms
from dpo_core.quality.stats.shared_answers import paired_p
from dpo_core.quality.stats.sign_tests import as_independent, by_cluster, purity_lower_bound, signs, squares
from dpo_core.quality.table import PairTable

Labels = NDArray[np.int64]
LEAST_PAIRS, MOST_LEVELS = 60, 12  # of a stratum; strata of one kind


@dataclass(frozen=True)
class Strata:
    """One way to divide N pairs. `labels`: (N,), a stratum's number, -1 where it is too small; `names` by number."""

    kind: str
    labels: Labels
    names: list[str]


@dataclass(frozen=True)
class Cells:
    """Arrays over the (stratum, feature) cells with enough pairs to test."""

    kind: Counts  # which way to divide
    level: Counts  # which stratum of it
    feature: Counts  # column
    plus: Counts  # only in chosen
    minus: Counts
    size: Counts  # pairs of the stratum
    variance: Floats  # of plus - minus, when prompts flip sign at random
    purity_low: Floats
    p: Floats
    p_exchanged: Floats  # of it, by exchange of shared answers
    z_adjusted: Floats  # given the lengths, within the stratum

    @property
    def z(self) -> Floats:
        """Signed strength."""
        return np.asarray((self.plus - self.minus) / np.sqrt(np.maximum(self.variance, 1)), dtype=np.float64)

    @property
    def accuracy(self) -> Floats:
        """Of the rule within its stratum."""
        return np.asarray(0.5 + np.abs(self.plus - self.minus) / (2 * self.size), dtype=np.float64)


def divide(table: PairTable, rows: Labels) -> list[Strata]:
    """By source, annotator, models, topic and length of the prompt; only divisions with two strata or more."""
    kinds = [
        *(_by_origin(table, rows, column) for column in ("source", "annotator")),
        _by_models(table, rows),
        _by_topic(table, rows),
        _by_prompt_length(table, rows),
    ]
    return [strata for strata in kinds if len(strata.names) > 1]


def count_cells(
    d: sparse.csr_array, view: Separation, strata: Sequence[Strata]
) -> tuple[Cells, list[sparse.csr_array]]:
    """Count within every stratum. Also the cluster sums of each stratum's cells, in the same order."""
    parts: list[Cells] = []
    sums: list[sparse.csr_array] = []
    log_length = view.table["log_length"][view.grams.rows]
    for kind, division in enumerate(strata):
        for level in range(len(division.names)):
            inside = division.labels == level
            part, cluster_sums = _stratum(d, view, inside, log_length)
            count = len(part.feature)
            parts.append(replace(part, kind=np.full(count, kind), level=np.full(count, level)))
            sums.append(cluster_sums)
    names = [field.name for field in fields(Cells)]
    return Cells(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}), sums


def heterogeneity(s: Counts, variance: Floats) -> float:
    """Cochran's Q of sums `s` over strata: chi-squared with one degree of freedom less if all strata agree."""
    return float(np.sum(np.square(s) / variance) - np.square(s.sum()) / variance.sum())


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


def _stratum(
    d: sparse.csr_array, view: Separation, inside: Bools, log_length: NDArray[np.float32]
) -> tuple[Cells, sparse.csr_array]:
    """The cells of one stratum, and their sums within each cluster of all pairs."""
    rows, clusters = np.flatnonzero(inside), view.clusters
    part = sparse.csr_array(d[rows])
    plus, minus = signs(part)
    tested = np.flatnonzero(plus + minus >= np.maximum(LEAST, LIKELY_COVERAGE * len(rows)))
    part, plus, minus = sparse.csr_array(part[:, tested]), plus[tested], minus[tested]
    near = np.asarray(np.unique(clusters[rows], return_inverse=True)[1], dtype=np.int64)
    local = by_cluster(part, near)
    independent = as_independent(plus, minus, local)
    own = int(np.searchsorted(tested, view.d.shape[1]))  # the others are amounts
    flips, exchanged = paired_p(part, local, near, view.answers[rows], below=ERROR, own=own)
    none = np.zeros(len(tested), dtype=np.int64)
    cells = Cells(
        none,
        none,
        tested,
        plus,
        minus,
        np.full(len(tested), len(rows)),
        squares(local),
        purity_lower_bound(np.maximum(*independent), independent[0] + independent[1]),
        np.maximum(flips, exchanged),
        exchanged,
        adjusted_z(part, near, length_terms(log_length[rows])),
    )
    spread = sparse.csr_array(
        (np.ones(len(rows), dtype=np.float32), (clusters[rows], np.arange(len(rows)))),
        shape=(int(clusters.max()) + 1, len(rows)),
    )
    return cells, sparse.csr_array(spread @ part.astype(np.float32))

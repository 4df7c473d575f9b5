"""Sign tests of every feature within every stratum."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.quality.shortcuts.feature_tests import LIKELY_COVERAGE, Bools, Counts, Floats
from dpo_core.quality.shortcuts.features import LEAST
from dpo_core.quality.shortcuts.strata import Strata
from dpo_core.quality.stats.given_length import adjusted_z, length_terms
from dpo_core.quality.stats.sign_tests import as_independent, by_cluster, purity_lower_bound, sign_test, signs, squares
from dpo_core.quality.tested import Separation


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
    z_adjusted: Floats  # given the lengths, within the stratum

    @property
    def z(self) -> Floats:
        """Signed strength."""
        return np.asarray((self.plus - self.minus) / np.sqrt(np.maximum(self.variance, 1)), dtype=np.float64)

    @property
    def accuracy(self) -> Floats:
        """Of the rule within its stratum."""
        return np.asarray(0.5 + np.abs(self.plus - self.minus) / (2 * self.size), dtype=np.float64)


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
            part, cluster_sums = _stratum(d, view.clusters, inside, log_length)
            count = len(part.feature)
            parts.append(replace(part, kind=np.full(count, kind), level=np.full(count, level)))
            sums.append(cluster_sums)
    names = [field.name for field in fields(Cells)]
    return Cells(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}), sums


def _stratum(
    d: sparse.csr_array, clusters: Counts, inside: Bools, log_length: NDArray[np.float32]
) -> tuple[Cells, sparse.csr_array]:
    """The cells of one stratum, and their sums within each cluster of all pairs."""
    rows = np.flatnonzero(inside)
    part = sparse.csr_array(d[rows])
    plus, minus = signs(part)
    tested = np.flatnonzero(plus + minus >= np.maximum(LEAST, LIKELY_COVERAGE * len(rows)))
    part, plus, minus = sparse.csr_array(part[:, tested]), plus[tested], minus[tested]
    near = np.asarray(np.unique(clusters[rows], return_inverse=True)[1], dtype=np.int64)
    local = by_cluster(part, near)
    independent = as_independent(plus, minus, local)
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
        sign_test(*independent),
        adjusted_z(part, near, length_terms(log_length[rows])),
    )
    spread = sparse.csr_array(
        (np.ones(len(rows), dtype=np.float32), (clusters[rows], np.arange(len(rows)))),
        shape=(int(clusters.max()) + 1, len(rows)),
    )
    return cells, sparse.csr_array(spread @ part.astype(np.float32))


def heterogeneity(s: Counts, variance: Floats) -> float:
    """Cochran's Q of sums `s` over strata: chi-squared with one degree of freedom less if all strata agree."""
    return float(np.sum(np.square(s) / variance) - np.square(s.sum()) / variance.sum())

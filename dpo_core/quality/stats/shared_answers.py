"""Pairs that share an answer: the best of five against the four others has the words of the best four times.

A flipped sign would make the best the worst, which such data never hold: a rare word is four times as often among the
others as in the best, so by sign flips a few that miss the best look like a rule. Here the answers to a prompt that
pairs connect change places, while who was compared with whom stays. An answer counts by its share of wins, not by its
pairs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from dpo_core.quality.stats.cluster_flips import flip_p
from dpo_core.quality.stats.sign_tests import Counts, Floats

SLOPES = np.geomspace(0.01, 30, 45)  # tried; each gives a bound, neighbours differ by a fifth
Digests = NDArray[np.int64]


def paired_p(
    d: sparse.csr_array,
    sums: sparse.csr_array,
    clusters: Counts,
    answers: Digests,
    *,
    below: float,
    own: int | None = None,
) -> tuple[Floats, Floats]:
    """P of each column of d (pairs, features) by flips of whole clusters, and by exchange of shared answers.

    A feature is beyond chance only if both are small. `sums`: `by_cluster` of d; `answers`: (pairs, 2), digests of the
    chosen and the rejected answer. The first p is worked out where it may be under `below`. The second is an upper
    bound; it is 0 where no pair that differs in the feature shares an answer, where the first is above `below`, and
    from column `own` on (what no single answer has or has not).
    """
    flips = flip_p(sums, below=below)
    exchanged = np.zeros(len(flips))
    candidates = np.flatnonzero(flips[:own] <= below)
    if len(candidates):
        exchanged[candidates] = exchange_p(sparse.csc_array(d[:, candidates]), clusters, answers)
    return flips, exchanged


def exchange_p(d: sparse.csc_array, clusters: Counts, answers: Digests) -> Floats:
    """Two-sided p, an upper bound, of each column of d when connected answers change places; 0: shares no answer.

    Of n answers, of which k have the feature, k are drawn without replacement: by Hoeffding (1963) their sum is no
    further from its mean than that of k drawn with replacement, and Chernoff's bound of that is a product. (Of more
    than half, those without the feature are drawn.)
    """
    graph = _Answers.of(clusters, answers)
    p = np.zeros(d.shape[1])
    if not graph.shared.any():
        return p
    drawn = {column: graph.draw(np.asarray(d[:, [column]].toarray()).ravel()) for column in range(d.shape[1])}
    drawn = {column: mine for column, mine in drawn.items() if graph.shared[mine.parts].any()}
    exponent = dict.fromkeys(drawn, 0.0)
    for slope in SLOPES:
        log_mean = np.stack([graph.log_mean(slope), graph.log_mean(-slope)])
        for column, mine in drawn.items():
            bound = float(mine.counts @ log_mean[mine.turned, mine.parts]) - slope * mine.total
            exponent[column] = min(exponent[column], bound)
    p[list(drawn)] = [min(1.0, 2 * math.exp(exponent[column])) for column in drawn]
    return p


@dataclass(frozen=True)
class _Drawn:
    """One feature's answers as draws from the parts that they are of: `counts` from each of `parts`.

    `turned`: 1 where the values count the other way round; `total`: what came of all draws, in the feature's direction.
    """

    parts: NDArray[np.int64]
    counts: Counts
    turned: NDArray[np.int64]
    total: float


@dataclass(frozen=True)
class _Answers:
    """The different answers to each prompt, and their parts: those that pairs connect.

    `pairs`: (pairs, 2), the numbers of the two answers; `part`: of each answer; `value`: its share of wins less that of
    losses, minus the mean of its part; by part its `size` in answers, and whether two pairs of it share one (`shared`).
    """

    pairs: NDArray[np.int64]
    part: NDArray[np.int64]
    value: Floats
    size: Counts
    shared: NDArray[np.bool_]

    @classmethod
    def of(cls, clusters: Counts, answers: Digests) -> "_Answers":
        mixed = answers.astype(np.uint64) ^ (clusters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))[:, None]
        found, number = np.unique(mixed, return_inverse=True)
        pairs, count = np.asarray(number.reshape(-1, 2), dtype=np.int64), len(found)
        links = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        labels = csgraph.connected_components(links, directed=False)[1]
        part, size = np.asarray(labels, dtype=np.int64), np.asarray(np.bincount(labels), dtype=np.int64)
        wins, losses = (np.bincount(pairs[:, side], minlength=count) for side in (0, 1))
        balance = (wins - losses) / (wins + losses)
        value = balance - (np.bincount(part, weights=balance) / size)[part]
        return cls(pairs, part, value, size, size > 2)

    def holders(self, d: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which answers have a feature, by its d of every pair; not those of parts in which no pair differs in it."""
        has = np.zeros(len(self.part), dtype=np.bool_)
        has[self.pairs[d > 0, 0]] = has[self.pairs[d < 0, 1]] = True
        equal = self.pairs[(d == 0) & self.shared[self.part[self.pairs[:, 0]]]]
        known = -1
        while known < (known := int(has.sum())):  # an answer has what its equal has
            has[equal[has[equal].any(axis=1)]] = True
        return has

    def draw(self, d: NDArray[np.int8]) -> _Drawn:
        """The answers that have a feature, or where that is more than half of a part, those that have not."""
        has = self.holders(d)
        parts, counts = np.unique(self.part[has], return_counts=True)
        towards = int(np.sign(d.sum(dtype=np.int64)))
        rest = self.size[parts] - counts
        turned = (counts > rest) ^ (towards < 0)
        return _Drawn(parts, np.minimum(counts, rest), turned.astype(np.int64), towards * float(self.value[has].sum()))

    def log_mean(self, slope: float) -> Floats:
        """Of each part, log of the mean of exp(slope value) over its answers."""
        largest = np.zeros(len(self.size))
        np.maximum.at(largest, self.part, slope * self.value)
        grown = np.exp(slope * self.value - largest[self.part])
        return np.asarray(largest + np.log(np.bincount(self.part, weights=grown) / self.size), dtype=np.float64)

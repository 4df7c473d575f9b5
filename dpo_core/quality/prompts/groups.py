"""Which prompts ask nearly the same: they stay together in the split, in the tests' clusters and in the probe's folds.

By the `minima` of their shingles, in 16 bands of four. Two prompts of Jaccard index J meet in a band with probability
1 - (1 - J^4)^16 and are grouped if 70 % of their minima agree: .97 at J = .8, .50 at .7, .05 at .6. A group is what
such links connect; a prompt's texts need not be read again. System messages, which whole data sets share, are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from dpo_core.data.pairs import Message
from dpo_core.quality.prompts.identity import asked
from dpo_core.quality.table import Columns
from dpo_core.quality.text.minhash import MINIMA, SHINGLE, meetings, minima
from dpo_core.quality.words import Bools, Ints, TextArray

AGREE = 0.7  # share of minima: two standard deviations below J = .8
MANY, FEW, SHARE = 100, 10, 0.1  # prompts of the largest group: MANY, or SHARE of all, but FEW; and half of all
BLOCK = 250  # prompts laid out at once: what stays in the processor's cache
LINKS = 100_000  # compared at once (memory)
Sketches = NDArray[np.uint16]


@dataclass(frozen=True)
class PromptGroups:
    """`first`: (N,) the first row of each row's group. `template`: (N,) whether the prompt is one of too many alike.

    So many share a template, not a question: equal prompts alone then make a group. Rows that are added at the end
    leave `first` of the others as it is, but where one links two groups, or makes a group one of too many.
    """

    first: Ints
    template: Bools


def sketches(prompts: Sequence[Sequence[Message]]) -> Sketches:
    """MinHash of each prompt's words: (n, 64); zeros where it has none."""
    blocks = [_sketches(prompts[start : start + BLOCK]) for start in range(0, len(prompts), BLOCK)]
    return np.concatenate([np.zeros((0, MINIMA), dtype=np.uint16), *blocks])


def _sketches(prompts: Sequence[Sequence[Message]]) -> Sketches:
    return minima(*TextArray.of([asked(prompt) for prompt in prompts]).words.shingles(SHINGLE), len(prompts))


def group_prompts(digests: Ints, sketched: Sketches) -> PromptGroups:
    """Group N rows by their prompts: `digests` (N,) tells equal ones, `sketched` (N, 64) nearly equal ones."""
    rows, prompt = _in_order_of_appearance(digests)
    group = _linked(sketched[rows])
    prompts = np.bincount(group, minlength=len(rows))[group]  # in the group of each prompt
    template = prompts > min(MANY, max(FEW, SHARE * len(rows)), len(rows) / 2)
    group[template] = np.flatnonzero(template)
    return PromptGroups(rows[group][prompt], template[prompt])


def group_columns(digests: Ints, groups: PromptGroups) -> Columns:
    """`prompt_group` (int64): the digest of the group's first prompt; `prompt_template`."""
    return {"prompt_group": digests[groups.first], "prompt_template": groups.template}


def _in_order_of_appearance(digests: Ints) -> tuple[Ints, Ints]:
    """The first row of each different digest, ascending; and of each row, which of them is its own."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[inverse]


def _linked(sketched: Sketches) -> Ints:
    """For each prompt the first one of its group."""
    group = np.arange(len(sketched))
    known = np.flatnonzero(sketched.any(axis=1))
    for band in sketched.view(np.uint64)[known].T:  # four minima each
        later, before, first = (known[place] for place in meetings(band))
        one, other = np.concatenate([later, later]), np.concatenate([before, first])
        apart = group[one] != group[other]
        one, other = one[apart], other[apart]
        alike = _alike(sketched, one, other)
        group = _joined(group, one[alike], other[alike])
    return group


def _alike(sketched: Sketches, one: Ints, other: Ints) -> Bools:
    blocks = [slice(start, start + LINKS) for start in range(0, max(len(one), 1), LINKS)]
    return np.concatenate([(sketched[one[b]] == sketched[other[b]]).mean(axis=1) >= AGREE for b in blocks])


def _joined(group: Ints, one: Ints, other: Ints) -> Ints:
    """The groups once `one` and `other` belong together; each is named by its first member, as before."""
    if not len(one):
        return group
    size = len(group)
    graph = sparse.coo_array((np.ones(len(one)), (group[one], group[other])), shape=(size, size))
    count, component = csgraph.connected_components(graph, directed=False)
    first = np.full(count, size)
    np.minimum.at(first, component, np.arange(size))
    return np.asarray(first[component][group], dtype=np.int64)

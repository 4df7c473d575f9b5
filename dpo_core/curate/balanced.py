"""Pick one rendering of every pair, so that nothing but what is intended tells chosen from rejected.

The features are those of dpo_core.quality: properties, amounts, words, tokens and pairs of neighbours, over all pairs
and within the check's strata (kind, topic and length of the prompt).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from transformers import PreTrainedTokenizerBase

from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from dpo_core.model.encode import encode_pairs
from dpo_core.quality.examine import SEPARATION, columns
from dpo_core.quality.features.ngrams import GramTable, grams, spell, token_ids
from dpo_core.quality.shortcuts.mitigation import subset
from dpo_core.quality.shortcuts.strata import divide
from dpo_core.quality.table import PairTable
from dpo_core.recipe import Encoding, Validation

SWEEPS = 30

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


class RenderedFeatures(NamedTuple):
    """What the check sees of the renderings. Both are sparse.

    `d`: (renderings, features), 1 where the chosen side has more of a feature, -1 where the rejected side has.
    `strata`: (pairs, strata), 1 where a pair belongs to a stratum; the first holds all pairs.
    """

    d: sparse.csr_array
    strata: sparse.csr_array


def pick(
    options: Sequence[Sequence[Pair]],
    shares: Floats | None = None,
    *,
    intended: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> list[int]:
    """The place of one of each prompt's renderings, so that the sum of z^4 over features and strata is small.

    z is (pairs with the feature on the chosen side alone - on the rejected side alone) / root of their number.
    Coordinate descent on weighted squares; the weights, which make them fourth powers, follow slowly. The same
    renderings and seed give the same places.
    `options`: each prompt's renderings, at least one. `shares`: (renderings, any), more features whose sums should
    vanish. `intended`: words that are meant to differ. Raises InputError for a rendering that is too long to train on.
    """
    if not options:
        return []
    starts = np.cumsum([0, *(len(some) for some in options[:-1])])
    renderings = [rendering for some in options for rendering in some]
    draw, ends = np.random.default_rng(seed), np.append(starts[1:], len(renderings))
    d, strata = measure(renderings, starts, intended, tokenizer)
    if shares is not None:
        d = sparse.csr_array(sparse.hstack([d, sparse.csr_array(shares)]))
    picked = starts + draw.integers(ends - starts)
    weight = np.zeros((strata.shape[1], d.shape[1]))
    for _ in range(SWEEPS):
        total, seen = (strata.T @ d[picked]).toarray(), (strata.T @ abs(d[picked])).toarray()
        weight += ((np.square(total) / np.maximum(seen, 1) + 1) / (seen + 10) - weight) / 3
        for pair in draw.permutation(len(starts)):
            mine = d[starts[pair] : ends[pair]]
            here = strata[[pair]].indices[:, None], np.unique(mine.indices)
            signs = mine[:, here[1]].toarray()
            total[here] -= signs[picked[pair] - starts[pair]]
            pull = (weight[here] * total[here]).sum(axis=0)
            best = np.argmin(2 * signs @ pull + np.square(signs) @ weight[here].sum(axis=0))
            total[here] += signs[best]
            picked[pair] = starts[pair] + best
    return [int(place) for place in picked - starts]


def measure(
    renderings: Sequence[Pair], starts: Places, intended: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> RenderedFeatures:
    """Every feature that does not hold an intended word, and the strata of the prompts."""
    pairs = encode_pairs(renderings, tokenizer, Encoding()).encoded
    if len(pairs) < len(renderings):
        count = f"{len(renderings) - len(pairs)} of {len(renderings)} renderings"
        says = f"{count} are longer than {Encoding().max_length} tokens"
        raise InputError(says, where="correct.renderings", do="shorten the prompts, or lower longest")
    facts = columns(pairs, Validation(), checks=SEPARATION)
    table = PairTable(len(pairs), facts, lambda places: [renderings[place] for place in places])
    found = grams(pairs)
    d = sparse.csr_array((found.signs, found.columns, np.append(0, np.cumsum(found.counts))))
    listed = GramTable(np.arange(len(pairs)), found.keys, d)
    pieces = {token for word in intended for text in (word, f" {word}") for token in tokenizer(text)["input_ids"]}
    words = [word.casefold() for word in intended]
    free = [
        column
        for column, feature in sorted(spell(table, listed, range(len(found.keys)), None).items())
        if not any(word in feature.text for word in words) and not pieces & set(token_ids(int(found.keys[column])))
    ]
    prompts, _ = subset(table, listed, starts)
    members = [np.ones((len(starts), 1), dtype=np.bool_)]
    for kind in divide(prompts, np.arange(len(prompts))):
        members.append(kind.labels[:, None] == np.arange(len(kind.names)))
    amounts = sparse.csr_array(np.sign(table["amounts"]))
    d = sparse.csr_array(sparse.hstack([d[:, free], sparse.csr_array(table["presence"]), amounts])).astype(np.float64)
    return RenderedFeatures(d, sparse.csr_array(np.hstack(members).astype(np.float64)))

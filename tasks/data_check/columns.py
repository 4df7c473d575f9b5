"""The second pass over the data: encode the rows and take down what the checks want to know of each.

Imported by worker processes: keep it light.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.data.readers import Quarantined
from dpo_core.data.spool import Part
from dpo_core.quality.examine import SEPARATION, columns
from dpo_core.quality.prompts.postings import PromptIndex
from dpo_core.quality.rules import Rule
from dpo_core.quality.rules import columns as rule_columns
from dpo_core.quality.shortcuts.features import Grams, grams
from dpo_core.quality.table import Columns, joined
from dpo_core.recipe import Encoding, Validation
from tasks.data_check.read import Normalised
from tasks.runtime.workers import in_order

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Wanted:
    """What a process must know to describe rows.

    `bound`: prompts with a digest up to it are in the sample. `indexes`: prompts that none may share.
    """

    validation: Validation
    encoding: Encoding
    tokenizer: str | None  # folder
    bound: int
    indexes: Sequence[PromptIndex]
    trusted_code: str | None = None  # SHA-256 of code of the tokenizer's own that may run


@dataclass(frozen=True)
class DescribedChunk:
    """`kept`: (rows of the part,), whether each can be encoded; `columns` and `sampled` have an entry a kept row.

    `left_out`: columns of what was to be trained on and cannot be encoded.
    """

    kept: NDArray[np.bool_]
    columns: Columns
    left_out: Columns
    sampled: NDArray[np.bool_]
    grams: Grams
    refused: list[Quarantined]
    encoding: Counter[str]


@dataclass(frozen=True)
class Described:
    """Arrays over the spool's rows (`kept`, `sampled`) and over the kept rows (`columns`); n-grams of the sample."""

    kept: NDArray[np.bool_]
    sampled: NDArray[np.bool_]
    columns: Columns
    left_out: Columns
    grams: list[Grams]
    refused: list[Quarantined]
    encoding: dict[str, int]


def describe_rows(data: Normalised, train: NDArray[np.bool_], wanted: Wanted, *, workers: int) -> Described:
    """Describe every row; n-grams are taken of rows of `train` alone, those in the sample."""
    parts = ((part, train[part.first : part.first + part.rows]) for part in data.spool.parts())
    chunks = list(in_order(partial(describe_part, wanted), parts, workers=workers))
    encoding: Counter[str] = Counter()
    for chunk in chunks:
        encoding.update(chunk.encoding)
    return Described(
        kept=_over(chunk.kept for chunk in chunks),
        sampled=_over(chunk.sampled for chunk in chunks),
        columns=joined([chunk.columns for chunk in chunks]),
        left_out=joined([chunk.left_out for chunk in chunks]),
        grams=[chunk.grams for chunk in chunks],
        refused=[row for chunk in chunks for row in chunk.refused],
        encoding=dict(encoding),
    )


def describe_part(wanted: Wanted, item: tuple[Part, NDArray[np.bool_]]) -> DescribedChunk:
    """Encode and describe the rows of a part; the second of `item` tells which are trained on."""
    part, train = item
    pairs = part.pairs()
    encoded, refused, encoding = _encoded(pairs, wanted)
    bad = {id(pair) for pair, _ in refused}
    kept = np.array([id(pair) not in bad for pair in pairs], dtype=np.bool_)
    found = columns(encoded, wanted.validation, wanted.indexes)
    sampled = np.zeros(len(pairs), dtype=np.bool_)
    sampled[kept] = train[kept] & (found["prompt"] <= wanted.bound)
    left_out = [
        EncodedPair(p, (), (), ()) for p, fits, mine in zip(pairs, kept, train, strict=True) if mine and not fits
    ]
    return DescribedChunk(
        kept,
        found,
        columns(left_out, wanted.validation, checks=SEPARATION),
        sampled,
        grams([pair for pair, taken in zip(encoded, sampled[kept], strict=True) if taken]),
        [Quarantined(pair.where, _line_of(pair.where), reason, str(pair.to_row())) for pair, reason in refused],
        encoding,
    )


def look_up_rules(
    data: Normalised, train: NDArray[np.int64], rules: Sequence[Rule], wanted: Wanted, *, workers: int
) -> NDArray[np.int8]:
    """`rules.columns` of the pairs with these indices of the spool: (pairs, rules)."""
    trained = np.zeros(len(data.spool), dtype=np.bool_)
    trained[train] = True
    parts = ((part, trained[part.first : part.first + part.rows]) for part in data.spool.parts())
    return np.concatenate(list(in_order(partial(look_up_part, wanted, tuple(rules)), parts, workers=workers)))


def look_up_part(wanted: Wanted, rules: Sequence[Rule], item: tuple[Part, NDArray[np.bool_]]) -> NDArray[np.int8]:
    """The rules in the pairs of a part that are trained on: (pairs, rules)."""
    part, train = item
    pairs = [pair for pair, mine in zip(part.pairs(), train, strict=True) if mine]
    return rule_columns(_encoded(pairs, wanted)[0], rules)["rules"]


def _encoded(
    pairs: Sequence[Pair], wanted: Wanted
) -> tuple[Sequence[EncodedPair], list[tuple[Pair, str]], Counter[str]]:
    if wanted.tokenizer is None:
        return [EncodedPair(pair, (), (), ()) for pair in pairs], [], Counter()
    from dpo_core.model.encode import encode_pairs

    result = encode_pairs(pairs, tokenizer_of(wanted.tokenizer, wanted.trusted_code), wanted.encoding)
    return result.encoded, result.rejected, Counter(result.statistics)


@lru_cache(maxsize=1)
def tokenizer_of(folder: str, trusted_code: str | None) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, loaded once a process."""
    from dpo_core.model.encode import load_tokenizer

    return load_tokenizer(folder, trusted_code=trusted_code)


def _line_of(where: str) -> int:
    """The row's number in its file, from its address."""
    return int(where.rpartition(":")[2].removeprefix("row ").partition(" ")[0] or 0)


def _over(arrays: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.concatenate([np.zeros(0, dtype=np.bool_), *arrays])

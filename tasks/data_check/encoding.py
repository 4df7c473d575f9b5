"""Rows of a data check to token ids, where the check has a tokenizer."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.recipe import Encoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(
    pairs: Sequence[Pair], encoding: Encoding, tokenizer: str | None, trusted_code: str | None
) -> tuple[Sequence[EncodedPair], list[tuple[Pair, str]], Counter[str]]:
    """The pairs' ids, the pairs that have none and why, and what was counted; pairs without ids if no `tokenizer`."""
    if tokenizer is None:
        return [EncodedPair(pair, (), (), ()) for pair in pairs], [], Counter()
    from dpo_core.model.encode import encode_pairs

    result = encode_pairs(pairs, tokenizer_of(tokenizer, trusted_code), encoding)
    return result.encoded, result.rejected, Counter(result.statistics)


@lru_cache(maxsize=1)
def tokenizer_of(folder: str, trusted_code: str | None) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, loaded once a process."""
    from dpo_core.model.encode import load_tokenizer

    return load_tokenizer(folder, trusted_code=trusted_code)

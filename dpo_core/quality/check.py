"""What a check is: the columns that it needs of each pair, and what it makes of them.

Columns are computed a block of pairs at a time, in worker processes, while the texts stay on disk; `run` then sees all
pairs at once as columns, and fetches single rows only to show them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dpo_core.data.pairs import EncodedPair, text_of
from dpo_core.quality.checks.profile import Profile
from dpo_core.quality.prompts.index import PromptIndex
from dpo_core.quality.results import Results
from dpo_core.quality.shortcuts.feature_tests import Separation, separate
from dpo_core.quality.shortcuts.features import GramTable
from dpo_core.quality.table import Columns, PairTable
from dpo_core.quality.text.words import Texts
from dpo_core.recipe import Validation

TokenText = Callable[[int], str]  # the text of one token id of the training tokenizer


class Block:
    """Some pairs, with their texts laid out: text 3i is the prompt of pair i, 3i + 1 its chosen side, 3i + 2 the other.

    What the columns of all checks are made from, so that words are cut once.
    """

    def __init__(
        self, pairs: Sequence[EncodedPair], validation: Validation, indexes: Sequence[PromptIndex] = ()
    ) -> None:
        self.pairs, self.validation, self.indexes = pairs, validation, indexes
        self.strings = [
            text_of(messages)
            for encoded in pairs
            for messages in (encoded.pair.prompt, encoded.pair.chosen, encoded.pair.rejected)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def texts(self) -> Texts:
        """The strings, laid out."""
        return Texts.of(self.strings)


@dataclass(frozen=True)
class Facts:
    """What is known of the pairs trained on.

    `grams`: features of a sample of them. `indexes`: prompts they are compared with. `encoding`: what encoding counted.
    `own_split`: the held-out pairs were taken from the same source. `previous`: the profile of the last accepted set.
    `token_text`: the text of a token id; without it words alone are examined.
    """

    table: PairTable
    grams: GramTable
    indexes: Sequence[PromptIndex] = ()
    encoding: Mapping[str, int] = field(default_factory=dict)
    own_split: bool = False
    previous: Profile | None = None
    token_text: TokenText | None = None

    @cached_property
    def separation(self) -> Separation:
        """Every surface feature of the sampled pairs, tested: what the checks for shortcuts read from."""
        return separate(self.table, self.grams, self.token_text)


@dataclass(frozen=True)
class Check:
    """One check of a data set.

    `columns`: pure functions of a block of pairs, an entry (or row) a pair; checks may share them. `run`: measures with
    their limits, and findings, from the columns of all pairs.
    """

    name: str
    columns: tuple[Callable[[Block], Columns], ...]
    run: Callable[[Facts, Validation], Results]

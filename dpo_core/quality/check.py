"""What a check is: the columns that it needs of each pair, and what it makes of them.

Columns are computed a block of pairs at a time, in worker processes, while the texts stay on disk; `run` then sees all
pairs at once as columns, and fetches single rows only to show them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dpo_core.quality.features.feature_tests import Separation, separate
from dpo_core.quality.features.ngrams import GramTable, TokenText
from dpo_core.quality.postings import PromptIndex
from dpo_core.quality.profile import Profile
from dpo_core.quality.results import Results
from dpo_core.quality.table import Block, Columns, PairTable
from dpo_core.recipe import Validation

__all__ = ["Block", "Check", "Facts", "TokenText"]


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

    `name`: what its findings are called, or how these names begin. `columns`: pure functions of a block of pairs, an
    entry (or row) a pair; checks may share them. `run`: measures with their limits, and findings, from the columns of
    all pairs.
    """

    name: str
    columns: tuple[Callable[[Block], Columns], ...]
    run: Callable[[Facts, Validation], Results]

"""All checks of a data set, in one order: the columns they need, and what they make of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dpo_core.data.pairs import EncodedPair, Message
from dpo_core.quality import facts, separation, table
from dpo_core.quality.benchmarks import index_benchmarks
from dpo_core.quality.checks.consistency import check_consistency
from dpo_core.quality.checks.drift import check_drift
from dpo_core.quality.checks.languages import check_language
from dpo_core.quality.checks.leakage import HELD_OUT, check_leakage
from dpo_core.quality.checks.personal_data import check_people
from dpo_core.quality.checks.profile import Profile
from dpo_core.quality.checks.structure import check_structure
from dpo_core.quality.prompts.groups import group_columns, group_prompts, sketches
from dpo_core.quality.prompts.identity import sample_rows
from dpo_core.quality.prompts.index import PromptIndex, index_prompts
from dpo_core.quality.separation import examine_separation
from dpo_core.quality.shortcuts.features import GramTable, grams, merge
from dpo_core.quality.sources import check_sources
from dpo_core.quality.table import Columns, PairTable
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure

TokenText = Callable[[int], str]


@dataclass(frozen=True)
class Examination:
    """What the checks measured, for the gate, and what they found, for people."""

    measures: list[Measure]
    findings: list[Finding]


@dataclass(frozen=True)
class Facts:
    """What is known of the pairs trained on.

    `grams`: features of a sample of them. `indexes`: prompts they are compared with (`indexes_of`).
    `encoding`: what encoding counted. `own_split`: the held-out pairs were taken from the same source. `previous`: the
    profile of the last accepted data set.
    """

    table: PairTable
    grams: GramTable
    indexes: Sequence[PromptIndex] = ()
    encoding: Mapping[str, int] = field(default_factory=dict)
    own_split: bool = False
    previous: Profile | None = None


def indexes_of(held_out: Iterable[Sequence[Message]], validation: Validation) -> list[PromptIndex]:
    """The prompts that must not be trained on: those held out, and those of the benchmarks."""
    own = index_prompts(HELD_OUT, held_out)
    return [*([own] if len(own) else []), *index_benchmarks(validation.benchmarks)]


def columns(pairs: Sequence[EncodedPair], validation: Validation, indexes: Sequence[PromptIndex] = ()) -> Columns:
    """Everything that `examine_facts` needs of a chunk of pairs, an entry a pair. Pure, for worker processes."""
    return {**table.columns(pairs), **facts.columns(pairs, indexes), **separation.columns(pairs, validation)}


def examine_facts(known: Facts, validation: Validation, token_text: TokenText | None) -> Examination:
    """Run every check.

    `token_text` gives the text of one token id of the training tokenizer; without it words alone are examined.
    The same input gives the same result, to the last bit.
    """
    pairs = known.table
    results = [
        check_structure(pairs, validation, known.encoding),
        check_consistency(pairs, validation),
        check_leakage(pairs, known.indexes, validation, own_split=known.own_split),
        check_language(pairs),
        check_sources(pairs, validation),
        examine_separation(pairs, known.grams, validation, token_text),
        check_people(pairs, validation),
    ]
    if known.previous is not None:
        results.append(check_drift(pairs, known.previous, validation))
    return Examination(
        [measure for measures, _ in results for measure in measures],
        [finding for _, findings in results for finding in findings],
    )


def examine(
    train: Sequence[EncodedPair],
    held_out: Sequence[EncodedPair],
    validation: Validation,
    token_text: TokenText | None,
) -> Examination:
    """The same for pairs that are in memory; `held_out` is only compared with them."""
    indexes = indexes_of((pair.pair.prompt for pair in held_out), validation)
    found = columns(train, validation, indexes)
    groups = group_prompts(found["prompt"], sketches([pair.pair.prompt for pair in train]))
    found |= group_columns(found["prompt"], groups)
    rows = sample_rows(found["prompt"])
    everything = PairTable(len(train), found, lambda wanted: [train[row].pair for row in wanted])
    known = Facts(everything, merge([grams([train[row] for row in rows.tolist()])], rows), indexes)
    return examine_facts(known, validation, token_text)

"""All checks of a data set, in one order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.consistency import check_consistency
from dpo_core.quality.leakage import check_leakage
from dpo_core.quality.separation import examine_separation, tables_of
from dpo_core.quality.structure import check_structure
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure


@dataclass(frozen=True)
class Examination:
    """What the checks measured, for the gate, and what they found, for people."""

    measures: list[Measure]
    findings: list[Finding]


def examine(
    train: Sequence[EncodedPair],
    held_out: Sequence[EncodedPair],
    validation: Validation,
    token_text: Callable[[int], str] | None,
) -> Examination:
    """Run every check on the pairs trained on; `held_out` is only compared with them.

    `token_text` gives the text of one token id of the training tokenizer; without it words alone are examined.
    The same input gives the same result, to the last bit.
    """
    results = (
        check_structure(train),
        check_consistency(train, validation),
        check_leakage(train, held_out),
        examine_separation(*tables_of(train, validation), validation, token_text),
    )
    return Examination(
        [measure for measures, _ in results for measure in measures],
        [finding for _, findings in results for finding in findings],
    )

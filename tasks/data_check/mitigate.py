"""What the checks say of the pairs to train on, once shortcuts have been dealt with as the recipe says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.check import Facts
from dpo_core.quality.examine import Examination, examine
from dpo_core.quality.features.ngrams import Feature
from dpo_core.quality.shortcuts.filter_steps import FilterStep, check_filter_steps
from dpo_core.quality.shortcuts.mitigation import Rule, evened_out, mitigate, softened, subset
from dpo_core.quality.table import Columns, PairTable
from dpo_core.quality.text.surface import AMOUNTS
from dpo_core.recipe import Validation
from dpo_core.report.documents import ShortcutRecord
from dpo_core.report.results import Finding
from tasks.data_check.encoding import tokenizer_of
from tasks.data_check.rows import Described, Normalised, Wanted, look_up_rules

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """The pairs to train on once shortcuts have been dealt with, and what the checks say of them.

    `shortcuts`: all that gave the chosen side away before.
    """

    examination: Examination
    table: PairTable
    train: Ints
    weights: Floats | None
    shortcuts: list[ShortcutRecord]
    dropped: int = 0


def examine_and_mitigate(
    data: Normalised, facts: Facts, train: Ints, wanted: Wanted, described: Described, *, workers: int
) -> Found:
    """Examine; where the recipe says so, take shortcuts out, or let them only warn.

    `train`: the spool's indices of the pairs that `facts` are of.
    """
    validation, token_text = wanted.validation, token_text_of(wanted)
    facts = replace(facts, token_text=token_text)
    examination, how = examine(facts, validation), validation.on_shortcut
    steps = _steps(facts.table, described.left_out, validation)
    examination = replace(examination, findings=[*examination.findings, *steps])
    shortcuts = shortcuts_of(examination.findings)
    if how == "warn":
        examination = Examination(*softened(examination.measures, examination.findings))
    if how == "fail" or how == "warn":
        return Found(examination, facts.table, train, None, shortcuts)

    def look_up(rules: Sequence[Rule]) -> NDArray[np.int8]:
        return look_up_rules(data, described.ids, train, rules, workers=workers)

    mitigation = mitigate(facts.table, facts.grams, validation, token_text, look_up, how)
    if mitigation is None:
        return Found(examination, facts.table, train, None, shortcuts)
    table, grams = subset(facts.table, facts.grams, mitigation.kept)
    left = replace(facts, table=table, grams=grams)
    after = examine(left, validation)
    measures, findings = after.measures, after.findings
    if how == "balance":
        measures, findings = evened_out(measures, findings, mitigation, left.separation, validation)
    weights = mitigation.weights if how == "balance" else None
    examination = Examination([mitigation.measure, *measures], [mitigation.finding, *findings, *steps])
    names = {rule.feature.name for rule in mitigation.rules if rule not in mitigation.standing}
    done: Literal["dropped", "weighted"] = "dropped" if how == "drop" else "weighted"
    shortcuts = [s.model_copy(update={"treated": done}) if s.name in names else s for s in shortcuts]
    return Found(examination, table, train[mitigation.kept], weights, shortcuts, len(train) - len(mitigation.kept))


def shortcuts_of(findings: Sequence[Finding]) -> list[ShortcutRecord]:
    """The features of answers that findings name as giving the chosen side away, the declared ones too."""
    return [
        ShortcutRecord(
            kind=finding.rule[0],
            text=finding.rule[1],
            name=Feature(*finding.rule).name,
            towards=finding.towards,
            treated="intended" if finding.intended else "flagged",
        )
        for finding in findings
        if finding.rule is not None
    ]


def _steps(table: PairTable, left_out: Columns, validation: Validation) -> list[Finding]:
    """Whether leaving out what is too long for the model makes the sides differ."""
    if not (lost := len(left_out["log_length"])):
        return []
    both = {name: np.concatenate([table[name], column]) for name, column in left_out.items()}
    both["amounts"][:, AMOUNTS.index("tokens")] = 0  # not known of what was left out
    kept = np.arange(len(table) + lost) < len(table)
    return check_filter_steps(
        PairTable(len(kept), both, table.rows), [FilterStep("encoding.max_length", kept)], validation
    )


def token_text_of(wanted: Wanted) -> Callable[[int], str] | None:
    """The text of one token id, where there is a tokenizer."""
    if (folder := wanted.tokenizer) is None:
        return None
    return lambda token: str(tokenizer_of(folder, wanted.trusted_code).decode([token]))

"""The checks of the room shortcuts/ by the interface of a check."""

from dpo_core.quality.check import Check
from dpo_core.quality.prompts.identity import prompt_columns
from dpo_core.quality.shortcuts import balance, declared, findings, power, probe, within_strata
from dpo_core.quality.table import Block, Columns
from dpo_core.quality.text.surface import surface_columns


def declared_columns(block: Block) -> Columns:
    """`intended`: see shortcuts/declared.py."""
    return declared.columns(block.pairs, block.validation.intended)


_COLUMNS = (surface_columns, prompt_columns, declared_columns)
BALANCE = Check("balance", _COLUMNS, lambda facts, validation: balance.check_balance(facts.table, validation))
FINDINGS = Check(
    "shortcut",
    _COLUMNS,
    lambda facts, validation: findings.check_shortcuts(facts.separation, validation.intended),
)
WITHIN_STRATA = Check(
    "shortcut/stratum",
    _COLUMNS,
    lambda facts, validation: within_strata.check_conditional(facts.separation, validation),
)
PROBE = Check("shortcut/probe", _COLUMNS, lambda facts, validation: probe.check_probe(facts.separation, validation))
POWER = Check("shortcut/detectable", _COLUMNS, lambda facts, _: ([], [power.check_power(facts.separation)]))

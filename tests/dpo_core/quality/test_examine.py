"""All checks: what each has in common with the others, and the checks on no pairs at all."""

import importlib
import math
import pkgutil

import numpy as np
import pytest

from dpo_core.quality import checks
from dpo_core.quality.check import Check
from dpo_core.quality.examine import CHECKS, columns
from dpo_core.quality.table import Block, size_columns
from dpo_core.recipe import Validation
from tests.dpo_core.quality.quality_data import as_pairs, examine_pairs, null_texts, run_check


def test_no_pairs_at_all_measure_nothing_that_could_pass():
    values = {measure.check: measure.value for measure in examine_pairs([]).measures}
    nan = {check for check, value in values.items() if math.isnan(value)}
    assert {"structure/identical_or_empty", "consistency/duplicates", "balance/length_words"} <= nan


def test_every_module_of_the_room_is_one_check_and_is_run():
    modules = [
        importlib.import_module(f"{checks.__name__}.{found.name}") for found in pkgutil.iter_modules(checks.__path__)
    ]
    assert len(modules) == 9
    assert all(list(vars(module))[-1] == "CHECK" and module.CHECK in CHECKS for module in modules)


def test_no_two_modules_give_a_column_the_same_name():
    pairs = as_pairs(null_texts(0, 3))
    functions = {size_columns, *(function for check in CHECKS for function in check.columns)}
    parts = [function(Block(pairs, Validation())) for function in functions]
    assert len(columns(pairs, Validation())) == sum(len(part) for part in parts)
    assert all(len(column) == 3 for part in parts for column in part.values())
    assert all(isinstance(column, np.ndarray) for part in parts for column in part.values())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_needs_no_columns_but_those_it_names(check: Check):
    pairs = as_pairs(null_texts(0, 30))
    measures, findings = run_check(check, pairs)
    assert all(told.check.startswith(check.name.partition("/")[0]) for told in [*measures, *findings])

"""Balance on pairs small enough to count by eye, and all checks on none."""

import math

from dpo_core.data.pairs import EncodedPair
from dpo_core.quality.verdict import examine
from dpo_core.recipe import Validation
from tests.dpo_core.quality_data import make_pair


def distinct(count):
    return [make_pair(f"prompt {row}", f"good {row}", f"poor {row}") for row in range(count)]


def measured(results):
    return {measure.check: measure.value for measure in results[0]}


def severities(results):
    return {finding.check: finding.severity for finding in results[1]}


def with_ids(pair, chosen, rejected):
    return EncodedPair(pair.pair, (1,), chosen, rejected)


def test_no_pairs_at_all_measure_nothing_that_could_pass():
    values = {measure.check: measure.value for measure in examine([], [], Validation(), None).measures}
    nan = {check for check, value in values.items() if math.isnan(value)}
    assert {"structure/identical_or_empty", "consistency/duplicates", "balance/length_words"} <= nan

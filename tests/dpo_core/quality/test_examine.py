"""All checks on no pairs at all."""

import math

from dpo_core.quality.examine import examine
from dpo_core.recipe import Validation


def test_no_pairs_at_all_measure_nothing_that_could_pass():
    values = {measure.check: measure.value for measure in examine([], [], Validation(), None).measures}
    nan = {check for check, value in values.items() if math.isnan(value)}
    assert {"structure/identical_or_empty", "consistency/duplicates", "balance/length_words"} <= nan

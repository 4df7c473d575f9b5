"""Whether one source alone decides what is learnt."""

import numpy as np

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.prompts.identity import origin, prompt_columns
from dpo_core.quality.results import Results, share_of_rows
from dpo_core.quality.text.redaction import redact
from dpo_core.recipe import Validation


def check_sources(facts: Facts, validation: Validation) -> Results:
    """The largest source's share of the pairs; above `validation.max_source` it fails, below nothing is said."""
    table = facts.table
    sources, counts = np.unique(table["source"], return_counts=True)
    mine = table["source"] == sources[np.argmax(counts)] if len(table) else np.zeros(0, dtype=np.bool_)
    name = redact(origin(table.rows([int(np.argmax(mine))])[0], "source")) if len(table) else ""
    says = (
        f"come from {f'the source {name!r}' if name else 'no named source'}: its habits outweigh all others. "
        "Add pairs from elsewhere, take fewer of its, or raise validation.max_source."
    )
    measure, findings = share_of_rows("balance/source", table, mine, says, fail_above=validation.max_source)
    return [measure], [finding for finding in findings if finding.severity == "fail"]


CHECK = Check("balance/source", columns=(prompt_columns,), run=check_sources)

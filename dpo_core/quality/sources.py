"""Whether one source alone decides what is learnt."""

import numpy as np

from dpo_core.quality.prompts.identity import origin
from dpo_core.quality.results import Results, share_of_rows
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.redaction import redact
from dpo_core.recipe import Validation

CHECK = "balance/source"


def check_sources(table: PairTable, validation: Validation) -> Results:
    """The largest source's share of the pairs; above `validation.max_source` it fails, below nothing is said."""
    sources, counts = np.unique(table["source"], return_counts=True)
    mine = table["source"] == sources[np.argmax(counts)] if len(table) else np.zeros(0, dtype=np.bool_)
    name = redact(origin(table.rows([int(np.argmax(mine))])[0], "source")) if len(table) else ""
    says = (
        f"come from {f'the source {name!r}' if name else 'no named source'}: its habits outweigh all others. "
        "Add pairs from elsewhere, take fewer of its, or raise validation.max_source."
    )
    measure, findings = share_of_rows(CHECK, table, mine, says, fail_above=validation.max_source)
    return [measure], [finding for finding in findings if finding.severity == "fail"]

"""Whether the longer (or the shorter) answer wins more often than not."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dpo_core.data.pairs import EncodedPair, text_of
from dpo_core.quality.prompts import prompt_clusters
from dpo_core.quality.statistics import as_independent, by_cluster, sign_test, signs
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity

SIGNIFICANT = 0.01
Lengths = NDArray[np.int64]


def check_balance(pairs: Sequence[EncodedPair], validation: Validation) -> tuple[list[Measure], list[Finding]]:
    """Share of pairs that the longer side wins (ties half), by tokens (words without a tokenizer) and characters.

    The measure is the larger of that share and its complement. Its limits apply only if a sign test
    finds the imbalance at p <= 0.01; before that the share of a small data set is chance.
    """
    tokens = bool(pairs) and all(pair.chosen_ids for pair in pairs)
    units: list[tuple[str, Callable[[EncodedPair], int]]] = [
        ("tokens", lambda p: len(p.chosen_ids) - len(p.rejected_ids))
        if tokens
        else ("words", lambda p: len(text_of(p.pair.chosen).split()) - len(text_of(p.pair.rejected).split())),
        ("characters", lambda p: len(text_of(p.pair.chosen)) - len(text_of(p.pair.rejected))),
    ]
    clusters = prompt_clusters(pairs)
    measures, findings = [], []
    for unit, difference in units:
        longer = np.sign(np.array([difference(pair) for pair in pairs], dtype=np.int64))
        measure, finding = _judge(unit, longer, clusters, validation)
        measures.append(measure)
        findings.append(finding)
    return measures, findings


def _judge(unit: str, longer: Lengths, clusters: Lengths, validation: Validation) -> tuple[Measure, Finding]:
    """`longer`: 1 where the chosen answer is longer, -1 where shorter, 0 for ties; a pair each."""
    check, total = f"balance/length_{unit}", len(longer)
    longer_wins = float((1 + longer.mean()) / 2) if total else float("nan")
    share = max(longer_wins, 1 - longer_wins)
    d = sparse.csr_array(longer[:, None])
    p = float(sign_test(*as_independent(*signs(d), by_cluster(d, clusters)))[0])
    beyond_chance = not p > SIGNIFICANT or share != share
    warn_above, fail_above = (validation.length_warn, validation.length_fail) if beyond_chance else (None, None)
    side = "longer" if longer_wins >= 0.5 else "shorter"
    says = f"the {side} answer (in {unit}) is the chosen one in {share:.1%} of {total} pairs (sign test p = {p:.2g})"
    severity: Severity = "info"
    if not beyond_chance:
        says += "; that many can come about by chance" + (
            f", and {total} pairs are too few to tell" if share > validation.length_warn else ""
        )
    elif share > validation.length_warn:
        severity = "fail" if share > validation.length_fail else "warn"
        says += (
            ": a model can learn the length instead of the answer. Balance the lengths, or add pairs of equal length."
        )
    counts: dict[str, float | int | str] = {
        "longer_wins": longer_wins,
        "p": p,
        "pairs": total,
        "ties": int((longer == 0).sum()),
    }
    return Measure(check, share, warn_above, fail_above, says), Finding(
        check, severity, says, "length", statistics=counts
    )

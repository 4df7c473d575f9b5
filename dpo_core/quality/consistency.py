"""Rows that repeat or contradict other rows."""

from collections.abc import Sequence

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import EncodedPair, Pair
from dpo_core.quality.evidence import evidence_of
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Severity

BOTH_WAYS_FAIL = 0.01  # share of pairs


def check_consistency(pairs: Sequence[EncodedPair], validation: Validation) -> tuple[list[Measure], list[Finding]]:
    """Share of rows that repeat an earlier row, and of rows whose comparison also occurs the other way round."""
    keys = [_key(pair.pair) for pair in pairs]
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    repeats = [pair.pair for row, (pair, key) in enumerate(zip(pairs, keys, strict=True)) if first[key] < row]
    both = [
        pair.pair
        for pair, (prompt, chosen, rejected) in zip(pairs, keys, strict=True)
        if chosen != rejected and (prompt, rejected, chosen) in first
    ]
    return _both_results(repeats, both, len(pairs), validation.max_duplicates)


def _both_results(
    repeats: list[Pair], both: list[Pair], total: int, max_duplicates: float
) -> tuple[list[Measure], list[Finding]]:
    repeated = "repeat an earlier row exactly: they count double in training. Remove the copies."
    contradict = (
        "occur in both directions (A over B and B over A, same prompt): they cancel out. Decide, or remove both."
    )
    measures, findings = [], []
    for check, bad, warn_above, fail_above, says in (
        ("consistency/duplicates", repeats, None, max_duplicates, repeated),
        ("consistency/both_directions", both, 0.0, BOTH_WAYS_FAIL, contradict),
    ):
        share = len(bad) / total if total else float("nan")
        says = f"{len(bad)} of {total} pairs {says}"
        measures.append(Measure(check, share, warn_above, fail_above, says))
        if bad:
            severity: Severity = "fail" if share > fail_above else "info" if warn_above is None else "warn"
            counts: dict[str, float | int | str] = {"pairs": len(bad), "share": share}
            findings.append(Finding(check, severity, says, statistics=counts, evidence=evidence_of(bad)))
    return measures, findings


def _key(pair: Pair) -> tuple[str, str, str]:
    return digest_json(pair.prompt), digest_json(pair.chosen), digest_json(pair.rejected)

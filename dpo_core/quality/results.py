"""What a check makes: measures with their severity, and findings with excerpts of the rows behind them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.redaction import redact
from dpo_core.report.results import Evidence, Finding, Measure, Severity

Results = tuple[list[Measure], list[Finding]]
Result = tuple[Measure, list[Finding]]  # of one measure
Statistics = dict[str, float | int | str]
WIDTH = 120  # characters of an excerpt
SHOWN = 3  # rows of a finding


def severity_of(measure: Measure) -> Severity:
    """What a value beyond its limits is worth; NaN (nothing was measured) fails."""
    if measure.value != measure.value or (measure.fail_above is not None and measure.value > measure.fail_above):
        return "fail"
    return "warn" if measure.warn_above is not None and measure.value > measure.warn_above else "info"


def share_of_rows(
    check: str,
    table: PairTable,
    bad: NDArray[np.bool_],
    says: str,
    *,
    warn_above: float | None = None,
    fail_above: float | None = None,
    statistics: Statistics | None = None,
    around: str = "",
) -> Result:
    """Share of the table's pairs that are `bad`; `says` goes on after "n of N pairs"."""
    rows = np.flatnonzero(bad)
    share = len(rows) / len(table) if len(table) else float("nan")
    says = f"{len(rows)} of {len(table)} pairs {says}"
    measure = Measure(check, share, warn_above, fail_above, says)
    if not len(rows):
        return measure, []
    counts: Statistics = {"pairs": len(rows), "share": share, **(statistics or {})}
    evidence = evidence_at(table, rows, around)
    return measure, [Finding(check, severity_of(measure), says, statistics=counts, evidence=evidence)]


def evidence_at(table: PairTable, rows: Sequence[int] | NDArray[np.int64], around: str = "") -> tuple[Evidence, ...]:
    """Excerpts of the first few of `rows`."""
    shown = [int(row) for row in rows[:SHOWN]]
    return evidence_of(table.rows(shown), around) if shown else ()


def gathered(results: Iterable[Result]) -> Results:
    """Many checks' measures and findings, in order."""
    measures: list[Measure] = []
    findings: list[Finding] = []
    for measure, found in results:
        measures.append(measure)
        findings.extend(found)
    return measures, findings


def estimated(measure: Measure, findings: list[Finding], share: float, size: int) -> Result:
    """The result with `share` of `size` pairs, known from a sample, in place of the rows that were looked at."""
    rest = measure.says.partition(" of ")[2]
    says = f"about {round(share * size)} of {rest} (an estimate: a random sample of the candidates was compared)"
    measure = replace(measure, value=share, says=says)
    numbers: Statistics = {"share": share, "pairs": round(share * size)}
    return measure, [
        replace(finding, says=says, severity=severity_of(measure), statistics={**finding.statistics, **numbers})
        for finding in findings
    ]


def evidence_of(pairs: Iterable[Pair], around: str = "") -> tuple[Evidence, ...]:
    """The first few of `pairs`, each side cut to a window round the first place where `around` stands."""
    return tuple(
        Evidence(
            pair.where or pair.id[:12], excerpt(text_of(pair.chosen), around), excerpt(text_of(pair.rejected), around)
        )
        for pair in islice(pairs, SHOWN)
    )


def excerpt(text: str, around: str = "") -> str:
    """At most about 120 characters of `text`, redacted; the beginning if `around` is not in it.

    Masked before it is cut, so that no half of a key is left over.
    """
    text = redact(text)
    at = text.casefold().find(around.casefold()) if around else 0
    start = max(0, at - WIDTH // 2) if at + len(around) > WIDTH else 0
    end = start + WIDTH
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")

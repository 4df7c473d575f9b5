"""The data quality report."""

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.report.page import render
from dpo_core.report.results import FAMILIES, Finding, Measure

SENTENCES = {
    "pass": "Nothing in this data separates the sides besides what people meant, as far as these checks can see.",
    "warn": "The data can be trained on. Something in it deserves a look first.",
    "fail": "Do not train on this data as it is: a model would learn what is named below, not what people preferred.",
}
ORDER = {"fail": 0, "warn": 1, "info": 2}
SHOWN = 3


def matters(findings: Sequence[Finding]) -> list[Finding]:
    """Up to three findings that a person should read first: the worst that are not intended, one a feature."""
    open_ones = [finding for finding in findings if not finding.intended and finding.severity != "info"]
    open_ones.sort(key=lambda finding: ORDER[finding.severity])
    distinct: dict[str, Finding] = {}
    for number, finding in enumerate(open_ones):
        distinct.setdefault(finding.feature or str(number), finding)
    return list(distinct.values())[:SHOWN]


def quality_page(
    *,
    name: str,
    verdict: str,
    findings: Sequence[Finding],
    measures: Sequence[Measure],
    by_check: Mapping[str, str],
    facts: Mapping[str, Any],
) -> str:
    """One HTML page: verdict and what to do first, then a section a family, counts, digests, versions."""
    families = [
        (
            family,
            [f for f in findings if f.check.startswith(f"{family}/")],
            [m for m in measures if m.check.startswith(f"{family}/")],
        )
        for family in FAMILIES
    ]
    return render(
        "quality.html.j2",
        name=name,
        verdict=verdict,
        sentence=SENTENCES[verdict],
        matters=matters(findings),
        families=[row for row in families if row[1] or row[2]],
        by_check=dict(by_check),
        facts=dict(facts),
    )

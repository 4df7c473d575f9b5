"""What changed since the last accepted data set: lengths, languages, sources, topics, labels, formats.

A shift counts if it is large (population stability index) and beyond chance (chi-square over both sets, Holm over the
distributions, pairs of one prompt counted as one): small sets move by themselves.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from dpo_core.quality.check import Check, Facts
from dpo_core.quality.profile import SCHEMA, Counts, distributions, profile_columns
from dpo_core.quality.prompts.comparisons import comparison_columns
from dpo_core.quality.prompts.identity import prompt_columns
from dpo_core.quality.prompts.topics import Topics, topic_columns, topic_of
from dpo_core.quality.results import Results, Statistics, evidence_at, severity_of
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.language import language_columns
from dpo_core.recipe import Validation
from dpo_core.report.results import Evidence, Finding, Measure, Table

SIGNIFICANT = 0.01
LEAST_EXPECTED = 5.0  # pairs in a cell of the chi-square test; rarer categories are joined
NAMED = 3  # categories in a sentence
Floats = NDArray[np.float64]


class Shift(NamedTuple):
    """How far a distribution moved: PSI in nats, Jensen-Shannon divergence in bits, p of the chi-square test."""

    psi: float
    js: float
    p: float


def check_drift(facts: Facts, validation: Validation) -> Results:
    """Compare with the profile of the last accepted set. A measure a distribution; findings for those that moved."""
    table, previous = facts.table, facts.previous
    if previous is None:
        return [], []
    if previous.get("schema") != SCHEMA:
        says = "the profile of the last accepted data set is of another version: nothing was compared"
        return [], [Finding("drift/profile", "info", says, looked_for=False)]
    topics = Topics(np.array(previous["topics"], dtype=np.float32), previous["topics_least"])
    now = distributions(table, topics)
    prompts = len(np.unique(table["prompt"]))
    independent = min(prompts / max(len(table), 1), previous["prompts"] / max(previous["pairs"], 1))
    shifts = {
        name: shift_of(counts, now[name], independent)
        for name, counts in previous["distributions"].items()
        if name in now
    }
    real = _beyond_chance({name: shift.p for name, shift in shifts.items()})
    measures: list[Measure] = []
    findings: list[Finding] = []
    for name, shift in shifts.items():
        limit = validation.max_drift if real[name] else None
        before, after = previous["distributions"][name], now[name]
        says = f"{name} moved since the last accepted data set: {_moved(before, after)} (PSI {shift.psi:.2f})"
        measure = Measure(f"drift/{name.replace(' ', '_')}", shift.psi, limit, None, says)
        measures.append(measure)
        if real[name]:
            evidence = _risen_topic(table, topics, before, after) if name == "topic" else ()
            findings.append(_finding(measure, name, shift, before, after, evidence))
    return measures, findings


def shift_of(before: Counts, after: Counts, independent: float = 1.0) -> Shift:
    """How far one distribution moved. `independent`: share of the pairs that are independent of the others."""
    names = sorted({*before, *after})
    counts = np.array([[some.get(name, 0) for name in names] for some in (before, after)], dtype=np.float64)
    old, new = (row / max(row.sum(), 1) for row in counts)
    smooth_old, smooth_new = ((row + 0.5) / (row.sum() + 0.5 * len(names)) for row in counts)
    psi = float(((smooth_new - smooth_old) * np.log(smooth_new / smooth_old)).sum())
    js = float(jensenshannon(old, new, base=2) ** 2) if counts.sum(axis=1).all() else float("nan")
    return Shift(psi, js, _chi_square(counts, independent))


def _chi_square(counts: Floats, independent: float) -> float:
    """P of equal distributions in both rows; 1 where too few pairs are left to tell."""
    counts = _without_rare(counts * independent)
    if counts.shape[1] < 2 or not counts.sum(axis=1).all():
        return 1.0
    return float(stats.chi2_contingency(counts, correction=False).pvalue)


def _without_rare(counts: Floats) -> Floats:
    """Columns of which fewer than 5 are expected in a row, joined into one (and that one with the next rarest)."""
    total = counts.sum()
    counts = counts[:, np.argsort(counts.sum(axis=0), kind="stable")]
    while counts.shape[1] > 1 and counts[:, 0].sum() * counts.sum(axis=1).min() < LEAST_EXPECTED * total:
        counts = np.column_stack([counts[:, 0] + counts[:, 1], counts[:, 2:]])
        counts = counts[:, np.argsort(counts.sum(axis=0), kind="stable")]
    return counts


def _beyond_chance(p: Mapping[str, float]) -> dict[str, bool]:
    """Holm's step-down test over all distributions."""
    real: dict[str, bool] = {}
    going = True
    for rank, name in enumerate(sorted(p, key=p.__getitem__)):
        going = going and p[name] * (len(p) - rank) <= SIGNIFICANT
        real[name] = going
    return real


def _changes(before: Counts, after: Counts) -> list[tuple[str, float, float]]:
    """Category, share before, share after; the largest change first."""
    old, new = (max(sum(counts.values()), 1) for counts in (before, after))
    shares = [(name, before.get(name, 0) / old, after.get(name, 0) / new) for name in sorted({*before, *after})]
    return sorted(shares, key=lambda share: -abs(share[2] - share[1]))


def _moved(before: Counts, after: Counts) -> str:
    return ", ".join(f"{name} {old:.1%} to {new:.1%}" for name, old, new in _changes(before, after)[:NAMED])


def _risen_topic(table: PairTable, topics: Topics, before: Counts, after: Counts) -> tuple[Evidence, ...]:
    """Rows of the topic that gained most."""
    name = max(_changes(before, after), key=lambda change: change[2] - change[1])[0]
    number = int(name) if name.isdigit() else len(topics.centres)
    return evidence_at(table, np.flatnonzero(topic_of(table["topic_sketch"], topics) == number))


def _finding(
    measure: Measure, name: str, shift: Shift, before: Counts, after: Counts, evidence: tuple[Evidence, ...]
) -> Finding:
    numbers: Statistics = {"psi": shift.psi, "js": shift.js, "p": shift.p}
    rows = tuple((category, old, new) for category, old, new in _changes(before, after)[:10])
    severity = severity_of(measure)
    advice = ". If that is meant, accept the set; else look at what the export changed." if severity == "warn" else ""
    table = Table("share of pairs", (name, "last accepted", "now"), rows)
    return Finding(
        measure.check, severity, measure.says + advice, name, statistics=numbers, evidence=evidence, tables=(table,)
    )


CHECK = Check(
    "drift",
    columns=(prompt_columns, comparison_columns, profile_columns, language_columns, topic_columns),
    run=check_drift,
)

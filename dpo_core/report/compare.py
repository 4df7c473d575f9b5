"""What changed from one data quality report to the next: verdict, findings, measures, counts, lengths."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dpo_core.report.documents import FindingRecord, QualityDocument
from dpo_core.report.results import RANK

ChangeKind = Literal["new", "gone", "stronger", "weaker"]
ORDER = ("new", "stronger", "weaker", "gone")
NOTICED = 0.1  # relative change of a finding's strength from which on it counts as one
COUNTS = ("rows_in", "rows_kept", "rows_quarantined")
# Statistics that say how strong a finding is, the first one it has; the number is where nothing would be going on.
STRENGTHS = {"accuracy": 0.5, "share": 0.0, "longer_wins": 0.5, "coverage": 0.0, "pairs": 0.0, "value": 0.0}


@dataclass(frozen=True)
class State:
    """A finding in one of the reports: severity, and its strength by the statistic named."""

    severity: str
    statistic: str
    strength: float | None


@dataclass(frozen=True)
class Change:
    """One finding that is not as it was."""

    change: ChangeKind
    check: str
    feature: str
    before: State | None
    after: State | None
    says: str


@dataclass(frozen=True)
class Move:
    """A number that is not as it was; None where a report does not have it."""

    name: str
    before: float | None
    after: float | None
    outcome_before: str = ""
    outcome_after: str = ""


@dataclass(frozen=True)
class Comparison:
    """The new report against an old one. `unchanged` counts findings that are as they were."""

    report: str
    verdict_before: str
    verdict_after: str
    same_data: bool
    findings: tuple[Change, ...]
    unchanged: int
    measures: tuple[Move, ...]
    counts: tuple[Move, ...]
    lengths: tuple[Move, ...]

    def to_document(self) -> dict[str, object]:
        """Plain data, for the JSON document's key `compare`."""
        return asdict(self)


def in_one_line(comparison: Mapping[str, Any]) -> str:
    """A comparison's document in one line: the verdicts, and how many findings are new, gone, stronger, weaker."""
    before, after = comparison["verdict_before"], comparison["verdict_after"]
    verdict = f"still {after}" if before == after else f"{before} before, {after} now"
    kinds = [change["change"] for change in comparison["findings"]]
    if comparison["same_data"] and before == after and not kinds:
        return f"the same data as before, and the same verdict: {after}"
    counted = [f"{kinds.count(kind)} {kind}" for kind in ORDER if kind in kinds]
    return f"{verdict}; findings: {', '.join([*counted, str(comparison['unchanged']) + ' unchanged'])}"


def compare(old: QualityDocument, new: QualityDocument, report: str) -> Comparison:
    """Two documents (`quality_document`), the older first; `report` names the older one."""
    before, after = _gating(old), _gating(new)
    changes = sorted(_changes(before, after), key=lambda change: (ORDER.index(change.change), -_rank(change)))
    return Comparison(
        report=report,
        verdict_before=old.verdict,
        verdict_after=new.verdict,
        same_data=bool(new.data_sha256) and old.data_sha256 == new.data_sha256,
        findings=tuple(changes),
        unchanged=len(set(before) & set(after)) - sum(c.change in ("stronger", "weaker") for c in changes),
        measures=tuple(_measures(old, new)),
        counts=tuple(Move(name, getattr(old, name), getattr(new, name)) for name in COUNTS),
        lengths=tuple(_lengths(old, new)),
    )


def _gating(document: QualityDocument) -> dict[tuple[str, str], FindingRecord]:
    """Findings by check and feature: those that warn or fail, and those declared as the aim."""
    return {(f.check, f.feature): f for f in document.findings if f.severity != "info" or f.intended}


def _changes(
    before: Mapping[tuple[str, str], FindingRecord], after: Mapping[tuple[str, str], FindingRecord]
) -> Iterator[Change]:
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        was, now = _state(old) if old else None, _state(new) if new else None
        kind: ChangeKind | None = "new" if was is None else "gone" if now is None else _moved(was, now)
        told = new or old
        if kind and told:
            yield Change(kind, *key, was, now, told.says)


def _state(finding: FindingRecord) -> State:
    severity = "intended" if finding.intended else finding.severity
    for name in STRENGTHS:
        value = finding.statistics.get(name)
        if isinstance(value, (int, float)):
            return State(severity, name, value)
    return State(severity, "", None)


def _moved(old: State, new: State) -> ChangeKind | None:
    rise = RANK.get(new.severity, 0) - RANK.get(old.severity, 0)
    if rise == 0 and old.statistic == new.statistic and old.strength is not None and new.strength is not None:
        still = STRENGTHS[old.statistic]
        was, now = abs(old.strength - still), abs(new.strength - still)
        rise = int(now > was * (1 + NOTICED)) - int(now < was * (1 - NOTICED))
    return "stronger" if rise > 0 else "weaker" if rise < 0 else None


def _rank(change: Change) -> int:
    states = [state for state in (change.before, change.after) if state]
    return max(RANK.get(state.severity, 0) for state in states)


def _measures(old: QualityDocument, new: QualityDocument) -> Iterator[Move]:
    """Measures whose value or outcome is another one."""
    before, after = ({m.check: (m.value, m.outcome) for m in document.measures} for document in (old, new))
    for check in {**before, **after}:
        a, b = before.get(check, (None, "")), after.get(check, (None, ""))
        if a != b:
            yield Move(check, a[0], b[0], a[1], b[1])


def _lengths(old: QualityDocument, new: QualityDocument) -> Iterator[Move]:
    """Median lengths, where both reports counted the same unit."""
    before, after = (document.facts.get("lengths", {}) for document in (old, new))
    if "median" in before and "median" in after and before["unit"] == after["unit"]:
        for side in ("chosen", "rejected"):
            yield Move(f"{side}, {after['unit']}", before["median"][side], after["median"][side])

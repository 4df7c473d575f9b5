"""What a check found, as typed results: the same for the JSON document, the page and the gate."""

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["info", "warn", "fail"]
Verdict = Literal["pass", "warn", "fail"]
RANK: dict[str, int] = {"info": 0, "warn": 1, "fail": 2}  # of a severity: more is worse
FAMILIES = ("structure", "consistency", "leakage", "balance", "shortcut", "people", "drift")


@dataclass(frozen=True)
class Evidence:
    """One row that shows a finding: where it is, and a short excerpt of each side (never the whole text).

    `marks`: pieces of the excerpts that the page highlights, whatever their case.
    """

    where: str
    chosen: str
    rejected: str
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Numbers that belong to a finding: strata, before and after, what was planted and found.

    The header decides how the page draws it: a number before `low` and `high` becomes dots with intervals, `chosen`
    beside `rejected` bars to both sides, `before` beside `after` what changed (all of them: PAIRS in
    report/tables.py). Shares are fractions of 1.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]


@dataclass(frozen=True)
class Finding:
    """Something a person should know about the data: `check` is `family/name`, `says` what it means and what to do."""

    check: str
    severity: Severity
    says: str
    feature: str = ""  # the word, token or property, where there is one
    intended: bool = False  # declared as the aim of the run: shown, does not gate
    statistics: dict[str, float | int | str] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    tables: tuple[Table, ...] = ()
    rule: tuple[str, str] | None = None  # kind and text of the feature, where it can be looked for in other answers
    towards: Literal["chosen", "rejected"] = "chosen"  # the side that has it
    looked_for: bool = True  # False: it says that something was not looked for, and why

    def to_document(self) -> dict[str, object]:
        """The finding as the JSON document has it (no rows of the data)."""
        return {
            "check": self.check,
            "severity": self.severity,
            "intended": self.intended,
            "feature": self.feature,
            "statistics": self.statistics,
            "says": self.says,
            "tables": [
                {"title": table.title, "header": list(table.header), "rows": [list(row) for row in table.rows]}
                for table in self.tables
            ],
        }


@dataclass(frozen=True)
class Measure:
    """One number with its limits: above `warn_above` it warns, above `fail_above` it fails (None: never)."""

    check: str
    value: float
    warn_above: float | None
    fail_above: float | None
    says: str

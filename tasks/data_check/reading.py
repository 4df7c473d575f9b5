"""What reading the rows showed, as measures and findings: rows that cannot be used, and columns that nothing reads."""

from collections.abc import Sequence

from dpo_core.data.columns import FORGOTTEN
from dpo_core.data.reasons import Reasons
from dpo_core.data.unread import Unread, UnreadColumns
from dpo_core.quality.results import Results, severity_of
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure, Table

NAMED = 5  # columns in a sentence; the table has more
TOLD = "quarantine.jsonl has every row and why"


def reading_results(rows: int, reasons: Reasons, unread: UnreadColumns, validation: Validation) -> Results:
    """Of all sources together, `rows` in all."""
    quarantined, text = _quarantined(rows, reasons, validation), _unread_text(rows, unread)
    findings = []
    if reasons.counts:
        table = Table("rows that cannot be used", ("reason", "rows"), tuple(reasons.ranked()))
        numbers = {"rows": sum(reasons.counts.values()), "share": quarantined.value}
        says, severity = quarantined.says, severity_of(quarantined)
        findings.append(Finding(quarantined.check, severity, says, statistics={**numbers}, tables=(table,)))
    for check, columns, says in (
        (text.check, _prose(unread), text.says),
        ("structure/unread_columns", _others(unread), f"{_listed(_others(unread))} not read, and not trained on"),
    ):
        if columns:
            severity = severity_of(text) if check == text.check else "info"
            rows_of = tuple((name, column.kind, column.rows) for name, column in columns)
            table = Table("columns that nothing reads", ("column", "holds", "rows"), rows_of)
            findings.append(Finding(check, severity, says, statistics={"columns": len(columns)}, tables=(table,)))
    return [quarantined, text], findings


def _quarantined(rows: int, reasons: Reasons, validation: Validation) -> Measure:
    count = sum(reasons.counts.values())
    unfit = count - reasons.counts.get(FORGOTTEN, 0)  # what was taken out on purpose is told, and breaks no limit
    says = f"{count} of {rows} rows cannot be used{f': {reasons.sentence()}; {TOLD}' if count else ''}"
    return Measure("structure/quarantined", unfit / rows, None, validation.max_quarantined, says)


def _unread_text(rows: int, unread: UnreadColumns) -> Measure:
    """Prose that differs between rows warns: it may be a system text, a part of the question, a thought."""
    columns = _prose(unread)
    says = (
        f"{_listed(columns)} not read, though the text differs from row to row: if it belongs to the question or to an "
        "answer, write it into the prompt or that answer; else take it out"
        if columns
        else "no column of text is left out"
    )
    share = max((column.rows for _, column in columns), default=0) / rows
    return Measure("structure/unread_text", share, 0.0, None, says)


def _prose(unread: UnreadColumns) -> list[tuple[str, Unread]]:
    return [(name, column) for name, column in unread.columns.items() if column.says_something]


def _others(unread: UnreadColumns) -> list[tuple[str, Unread]]:
    found = [(name, column) for name, column in unread.columns.items() if not column.says_something and column.rows]
    return [*found, ("(other names)", Unread(unread.others, "of many names"))] if unread.others else found


def _listed(columns: Sequence[tuple[str, Unread]]) -> str:
    told = [f"{name!r} ({column.kind}, {column.rows} rows)" for name, column in columns[:NAMED]]
    rest = f" and {len(columns) - NAMED} more" if len(columns) > NAMED else ""
    return f"column{'s' * (len(columns) > 1)} {', '.join(told)}{rest} {'are' if len(columns) > 1 else 'is'}"

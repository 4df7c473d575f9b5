"""The data quality report as a few lines of Markdown, for the page of an orchestrator."""

import re
from collections.abc import Mapping
from typing import Any

from dpo_core.report.results import RANK

SHOWN = 12  # findings
WORDS = {"pass": "Pass", "warn": "Warn", "fail": "Fail"}


def quality_markdown(name: str, document: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """Verdict, counts, findings as a table, and where the whole report lies (`links`: what it is -> where)."""
    lines = [
        f"# {WORDS[document['verdict']]}: data quality of {plain(name)}",
        "",
        f"{document['rows_in']:,} rows read, {document['rows_kept']:,} kept, "
        f"{document['rows_quarantined']:,} in quarantine{_dropped(document)}.",
        "",
    ]
    told = [f for f in document["findings"] if f["severity"] != "info" or f["intended"]]
    told.sort(key=lambda f: (f["intended"], -RANK[f["severity"]]))
    if told:
        lines += ["| | check | finding |", "|---|---|---|"]
        lines += [
            f"| {'intended' if f['intended'] else f['severity']} | {f['check']} | {plain(f['says'])} |"
            for f in told[:SHOWN]
        ]
        lines += [f"\n{len(told) - SHOWN} more in the report."] if len(told) > SHOWN else []
    else:
        lines.append("No check warns and none fails.")
    return "\n".join([*lines, "", *(f"- {what}: {_link(where)}" for what, where in links.items()), ""])


def _dropped(document: Mapping[str, Any]) -> str:
    dropped = document["rows_dropped"]
    return f", {dropped:,} dropped by validation.on_shortcut" if dropped else ""


def artifact_key(name: str) -> str:
    """`dq-report-NAME` with only what Prefect allows in a key: a-z, 0-9 and dashes."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"dq-report-{slug or 'data'}"


def _link(where: str) -> str:
    return f"[{where}]({where})" if re.match(r"https?://\S+$", where) else f"`{where}`"


def plain(text: str) -> str:
    """Words of the data cannot become a table's column, a link, an image or HTML."""
    text = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]()<>#!|~])", r"\\\1", text).replace("\\<", "&lt;").replace("\\>", "&gt;")

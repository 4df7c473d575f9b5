"""What people see at the end of a command: readable at 80 columns, without colours, in a log file."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.cli.console import printable, program
from infra.secrets import without_secrets

if TYPE_CHECKING:
    from flows.cli.documents import DoctorFinding
    from tasks.documents import (
        BeforeAfter,
        CheckDocument,
        Drift,
        EvaluateDocument,
        RetrainDocument,
        Retrained,
        SideBySide,
    )

VERDICTS = {
    "promote": "bold green",
    "hold_underpowered": "bold yellow",
    "hold_no_gain": "bold yellow",
    "reject_regression": "bold red",
    "pass": "bold green",
    "warn": "bold yellow",
    "fail": "bold red",
}
NOTHING_NEW = "NOTHING NEW"
SHORTCUT_EXAMPLE = "examples/shortcut/pairs.jsonl"


def show_retrain(console: Console, done: "Retrained") -> None:
    """The end of a run: what changed in the model, the verdict and why, where to look, what to type next."""
    from dpo_core.report.sentences import OUTCOMES, jump_sentence, stop_sentence

    document, display = done.document, done.display
    if document.changed:
        _before_after(console, display.before_after, display.gate.baseline)
        console.print(Text(display.scores, style="dim"))
        _answers(console, display.answers)
        _drift(console, display.drift)
        _seeds(console, document)
        for said in [*display.learnt, *filter(None, [document.unstable]), *jump_sentence(document.training.jumps)]:
            console.print(Padding(Text(said, style="bold yellow"), (1, 0, 0, 0)))
        if (stopped := document.training.early_stopping) is not None:
            console.print(Padding(Text(stop_sentence(stopped), style="dim"), (1, 0, 0, 0)))
    elif len(document.stages) > 1:
        _unchanged(console, document)
    outcome, style = OUTCOMES[display.gate.verdict].headline, VERDICTS[display.gate.verdict]
    if document.state == "nothing_new":
        outcome, style = NOTHING_NEW, "bold yellow"
    title, style = ("NOT PROMOTED", "bold yellow") if document.not_promoted else (outcome, style)
    if document.waiting_until is not None:
        title, style = "WAITS FOR APPROVAL", "bold yellow"
    champion_now = f"version {document.champion_version}" if document.champion_version else "none yet"
    console.print(f"\n[{style}]{title}[/]  {document.model} version {document.version}; champion: {champion_now}")
    for reason in filter(None, [document.not_promoted, *display.gate.reasons]):
        console.print(Padding(Text(reason), (0, 0, 0, 2)))
    for other in [c.says for c in display.gate.conditions if c.says not in display.gate.reasons] + display.gate.notes:
        console.print(Padding(Text(other, style="dim"), (0, 0, 0, 2)))
    _pairs(console, [("report", document.report), ("data report", display.report)])
    url = display.run_url
    _pairs(console, [("MLflow run", url if url.startswith("http") else document.mlflow_run_id)])
    _next(console, _next_commands(document))


def _seeds(console: Console, document: "RetrainDocument") -> None:
    """How far the seeds lie apart, a line a metric."""
    count = sum(not line.diverged for line in document.seeds)
    for name, spread in document.spread.items():
        ends = f"{spread.low:.4g} to {spread.high:.4g}, median {spread.median:.4g}"
        console.print(Text(f"{count} seeds: {name} {ends}"), soft_wrap=True)


def show_check(console: Console, document: "CheckDocument", most: int = 5) -> None:
    """The verdict on a data set and its gravest findings."""
    rows = f"{document.rows_in:,} rows in, {document.rows_kept:,} kept, {document.rows_quarantined:,} quarantined"
    rows += f", {document.rows_dropped:,} dropped by validation.on_shortcut" if document.rows_dropped else ""
    console.print(f"[{VERDICTS[document.verdict]}]{document.verdict.upper()}[/]  {rows}")
    order = ("fail", "warn", "info")
    findings = sorted(document.findings, key=lambda finding: order.index(finding.severity))
    for finding in findings[:most]:
        mark = "intended" if finding.intended else finding.severity
        line = Text(f"{mark:<9}", style=VERDICTS.get(mark, "dim"))
        console.print(line + Text(f"{finding.check}: {finding.says}"))
    if len(findings) > most:
        console.print(f"{len(findings) - most} more in the report", style="dim")
    if document.compare:
        _compared(console, document.compare)
    _pairs(console, [("report", document.report)])


def _compared(console: Console, comparison: Mapping[str, Any], most: int = 8) -> None:
    """What changed since an earlier report, the gravest first."""
    from dpo_core.report.compare import in_one_line

    console.print(Text(f"\nAgainst {_relative(comparison['report'])}", style="bold"))
    console.print(Text(in_one_line(comparison)))
    table = Table.grid(padding=(0, 2))
    for change in comparison["findings"][:most]:
        about = change["feature"] or change["check"]
        table.add_row(change["change"], Text(printable(about)), _state(change["before"]), "->", _state(change["after"]))
    console.print(Padding(table, (0, 0, 0, 2)))
    if len(comparison["findings"]) > most:
        console.print(f"{len(comparison['findings']) - most} more in the report", style="dim")


def _state(state: Mapping[str, Any] | None) -> Text:
    if state is None:
        return Text("none", style="dim")
    strength = "" if state["strength"] is None else f" ({state['statistic'].replace('_', ' ')} {state['strength']:.4g})"
    return Text(state["severity"], style=VERDICTS.get(state["severity"], "dim")).append(strength, style="dim")


def show_evaluation(console: Console, document: "EvaluateDocument") -> None:
    """Metrics with their 95 % intervals, of which rows, and against what."""
    left_out = document.rows_quarantined
    of = f" of {document.rows_in:,} rows; {left_out:,} cannot be used" if left_out else ""
    console.print(f"{document.pairs:,} pairs{of}", highlight=False)
    table = Table("metric", "value", "95 % interval", box=None)
    for name, metric in document.metrics.items():
        table.add_row(name, _number(name, metric.value), f"{_number(name, metric.low)} .. {_number(name, metric.high)}")
    console.print(table)
    against = document.reference or "no reference: rewards are beta times the log-prob itself"
    _pairs(console, [("model", document.model), ("against", against)])


def show_doctor(console: Console, findings: Iterable["DoctorFinding"]) -> None:
    """One line a check, its remedy below it where it needs one."""
    styles = {"ok": "green", "warn": "bold yellow", "fail": "bold red"}
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(Text(finding.status, style=styles[finding.status]), finding.check, Text(finding.says))
        if finding.remedy:
            table.add_row("", "", Text(finding.remedy, style="dim"))
    console.print(table)


def _unchanged(console: Console, document: "RetrainDocument") -> None:
    console.print(
        f"Nothing to do: the same recipe, data and model gave {document.model} version {document.version} "
        "before. Every stage was a look-up, and the recorded verdict stands. A new row, another value or --force "
        "makes a new run."
    )


def _before_after(console: Console, rows: "Sequence[BeforeAfter]", baseline: str) -> None:
    """`baseline`: whose figures a row's `champion` is, where it has some."""
    champion = any(row.champion is not None for row in rows)
    table = Table(title="Before and after", title_justify="left", title_style="bold", pad_edge=False, box=None)
    for column in (
        "metric",
        "before",
        *(["that version" if baseline == "version" else "champion"] if champion else []),
        "after",
        "95 % interval",
    ):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for row in rows:
        name = row.metric
        cells = [_number(name, row.reference), *([_number(name, row.champion)] if champion else [])]
        interval = f"{_number(name, row.low)} .. {_number(name, row.high)}"
        table.add_row(name, *cells, _number(name, row.challenger), interval)
    console.print()
    console.print(table)


def _answers(console: Console, answers: "Sequence[SideBySide]", most: int = 3) -> None:
    if not answers:
        return
    table = Table(
        title="Answers", title_justify="left", title_style="bold", expand=True, box=HORIZONTALS, show_lines=True
    )
    for column in ("asked", "before", "after"):
        table.add_column(column, ratio=1, overflow="fold")
    for answer in answers[:most]:
        table.add_row(*(Text(_short(text)) for text in (answer.prompt, answer.before, answer.after)))
    console.print()
    console.print(table)


def _drift(console: Console, drift: "Drift") -> None:
    from dpo_core.report.sentences import drift_sentence

    chosen, rejected, margin = drift.chosen_logratio, drift.rejected_logratio, drift.margin
    console.print("\nWhat moved, in nats against the reference", style="bold")
    console.print(f"  chosen answers {chosen:+.1f}   rejected answers {rejected:+.1f}   margin {margin:+.1f}")
    console.print(Padding(drift_sentence(chosen, rejected), (0, 0, 0, 2)))


def _next_commands(document: "RetrainDocument") -> list[tuple[str, str]]:
    name, version, champion = document.model, document.version, document.champion_version
    promoted = champion is not None and champion == version
    talk = f"models:/{name}@champion" if promoted else f"models:/{name}/{version}"
    commands = [(shlex.join([program("dpo"), "chat", talk]), "talk to it")]
    if document.waiting_until is not None:
        command = shlex.join([program("dpo"), "approve", name, str(version), "--by", "WHO", "--why", "TEXT"])
        commands.append((command, f"promote it, until {document.waiting_until[:16]}; --reject: do not"))
    if os.path.exists(SHORTCUT_EXAMPLE):  # noqa: PTH110
        command = shlex.join([program("dpo"), "check", SHORTCUT_EXAMPLE])
        commands.append((command, "see a data set stopped: it has a shortcut in it"))
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith("http") and without_secrets(uri) == uri:
        command = shlex.join([program("mlflow"), "ui", "--backend-store-uri", _relative(uri)])
        commands.append((command, "runs and versions, in the browser"))
    return commands


def _next(console: Console, commands: Iterable[tuple[str, str]]) -> None:
    console.print("\nNext", style="bold")
    for command, why in commands:
        console.print(Text("  " + command) + Text(f"   # {why}", style="dim"), soft_wrap=True)


def _pairs(console: Console, rows: Iterable[tuple[str, object]]) -> None:
    for label, value in rows:
        console.print(Text(f"{label:<12}", style="dim") + Text(_relative(str(value))), soft_wrap=True)


def _relative(text: str) -> str:
    """Paths below the working folder without its name."""
    here = os.getcwd()  # noqa: PTH109
    return text if here == "/" else text.replace(here + "/", "")


def _number(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    shares = metric.endswith("accuracies") or metric.startswith(("behaviour/", "retention/", "answers/win_rate"))
    benchmark = metric.startswith("lm_eval/") and 0 <= value <= 1
    if (shares and metric != "retention/neutral_text") or benchmark:
        return f"{100 * value:.1f} %"
    return f"{value:.3f}"


def _short(text: str, most: int = 160) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= most else text[: most - 1] + "…"

"""`dpo promote`, `approve`, `rollback`, `hold` and `history`: what people decide about a model's champion."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import FAILED, CommandResult

if TYPE_CHECKING:
    from tasks.documents import LedgerDocument, PromotionDocument

Name = Annotated[str, typer.Argument(metavar="NAME", help="registered model")]
Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="its version")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="the reason, for the ledger")]
By = Annotated[str, typer.Option("--by", metavar="WHO", help="who decides; without it the login name")]
SAYS = {
    "promoted": "is champion",
    "waiting_for_approval": "waits for approval: dpo approve",
    "refused": "is not promoted: it was refused",
    "rolled_back": "is champion again",
    "held": "promotion is on hold",
    "lifted": "promotion is open",
}


@prints_result
def promote(name: Name, version: Number, why: Why, by: By = "", as_json: AsJson = False) -> CommandResult:
    """Make a version champion by hand, also one that the gate held or rejected: the ledger says so."""
    get_ready()
    from tasks.commands.promotion import promote_version

    return _told(promote_version(name, version, why, by))


@prints_result
def approve(
    name: Name,
    version: Number,
    why: Why,
    by: By = "",
    reject: Annotated[bool, typer.Option("--reject", help="refuse it")] = False,
    as_json: AsJson = False,
) -> CommandResult:
    """Answer for a version that waits for approval (promotion.approval: required)."""
    get_ready()
    from tasks.commands.promotion import approve as answer
    from tasks.runtime.provenance import user

    return _told(answer(name, version, by or user(), why, reject=reject))


@prints_result
def rollback(
    name: Name,
    why: Why,
    to: Annotated[
        int | None, typer.Option("--to", min=1, metavar="VERSION", help="which; without it the champion before")
    ] = None,
    by: By = "",
    as_json: AsJson = False,
) -> CommandResult:
    """Make an earlier champion the champion again; what was promoted since stays barred until a person promotes it."""
    get_ready()
    from tasks.commands.promotion import roll_back

    return _told(roll_back(name, to, why, by))


@prints_result
def hold(
    name: Name,
    why: Why = "",
    lift: Annotated[bool, typer.Option("--lift", help="let runs promote again")] = False,
    by: By = "",
    as_json: AsJson = False,
) -> CommandResult:
    """Stop every run from promoting a version of this model, until --lift."""
    get_ready()
    from dpo_core.errors import InputError
    from tasks.commands.promotion import hold as put_on_hold

    if not (why or lift):
        raise InputError("a hold needs a reason", where="--why", do="write --why 'what is wrong, and until when'")
    return _told(put_on_hold(name, why, lift=lift, who=by))


@prints_result
def history(
    name: Name,
    verify: Annotated[bool, typer.Option("--verify", help="compare the weights of every champion too")] = False,
    as_json: AsJson = False,
) -> CommandResult:
    """Every promotion, rollback and hold: who, when, why. Exit code 1 if --verify finds something changed."""
    get_ready()
    from infra.errors import Damaged, ProcessFailed
    from tasks.commands.promotion import history as read

    try:
        found = read(name, verify=verify)
    except Damaged as error:  # the ledger's own answer, not a mistake in what was typed
        raise ProcessFailed(error.says, where=error.where, do=error.do) from error
    return CommandResult(found.to_json(), lambda console: _show(console, found), FAILED if found.problems else 0)


def _told(document: "PromotionDocument") -> CommandResult:
    def show(console: Console) -> None:
        subject = f"{document.model} version {document.version}" if document.version else document.model
        already = "" if document.changed else " (as before)"
        console.print(Text(f"{subject} {SAYS[document.state]}{already}"))
        champion = f"version {document.champion_version}" if document.champion_version else "none"
        console.print(Text(f"champion: {champion}; ledger entry {document.seq}", style="dim"))

    return CommandResult(document.to_json(), show)


def _show(console: Console, found: "LedgerDocument") -> None:
    table = Table("", "when (UTC)", "what", "version", "over", "who", "why", box=None)
    for entry in found.entries:
        numbers = ("" if number is None else str(number) for number in (entry.version, entry.over))
        why = Text(entry.why)
        table.add_row(str(entry.seq), entry.at[:16].replace("T", " "), entry.kind, *numbers, Text(entry.who), why)
    console.print(table)
    champion = f"version {found.champion_version}" if found.champion_version else "none"
    lines = [f"champion: {champion}"]
    if found.alias_version != found.champion_version:
        lines.append(f"the alias is on {found.alias_version}: the next run or command writes that down, or sets it")
    lines += [f"on hold: {found.held}"] * bool(found.held)
    lines += [f"barred: {', '.join(map(str, found.barred))}"] * bool(found.barred)
    lines += [f"waiting for approval: {', '.join(map(str, found.waiting))}"] * bool(found.waiting)
    lines += [f"NOT AS IT WAS: {problem}" for problem in found.problems]
    lines += ["every entry and every champion's weights are as they were"] * found.verified
    for line in lines:
        console.print(Text(line))

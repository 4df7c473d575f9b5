"""`dpo judge`: people choose between answers on a page; their judgements reported, exported, imported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import CommandResult, printable, program

if TYPE_CHECKING:
    from tasks.judging.desk import Desk
    from tasks.judging.documents import PeopleDocument

Files = Annotated[list[str], typer.Argument(metavar="JUDGEMENTS...", help="files that `dpo judge` or an import wrote")]


class _PageUnlessNamed(TyperGroup):
    """`dpo judge FILE` opens the page; export, import and report are commands of their own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the page's name before what is none of the commands."""
        first = next((arg for arg in args if not arg.startswith("-")), None)
        if args and first not in self.commands and "--help" not in args[:1]:
            args = ["page", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_PageUnlessNamed,
    help="People choose between two answers on a page, by keyboard: dpo judge FILE|DATASET.",
    no_args_is_help=True,
)


@app.command()
@prints_result
def page(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DATASET",
            help="pairs in any shape that is read, or answers to prompts: file, folder, s3://, dataset:NAME@VERSION",
        ),
    ],
    edit: Annotated[bool, typer.Option("--edit", help="edit the rejected answer into the chosen one")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE.jsonl", help="judgements; unset: by the source, in this folder")
    ] = None,
    overlap: Annotated[
        float, typer.Option("--overlap", min=0, max=1, help="share of the items that two people judge")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="of every draw: order, sides, overlap")] = 0,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="on loopback; 0: one that is free")] = 0,
    token: Annotated[bool, typer.Option("--token/--no-token", help="the address ends in a secret")] = True,
) -> CommandResult:
    """Open the page, and keep every judgement at once. Ctrl-C ends it."""
    get_ready()
    from infra.settings import load_settings
    from tasks.judging.served import JudgingOptions, judge_until_told

    options = JudgingOptions("edit" if edit else "compare", to, overlap, seed, port, token)
    console = Console(highlight=False)

    def say(desk: "Desk", url: str) -> None:
        for line in _opened(desk):
            console.print(Text(printable(line), style="dim"), soft_wrap=True)
        console.print(Text("Open  ", style="bold") + Text(url), soft_wrap=True)
        console.print(Text("Ctrl-C ends it; whatever was judged is on the disk.", style="dim"))

    desk = judge_until_told(source, options, load_settings().home, say)
    return CommandResult({}, lambda out: _ended(out, desk))


@app.command()
@prints_result
def report(files: Files, as_json: AsJson = False) -> CommandResult:
    """Who judged, how far they agree (kappa with its interval), what is to be settled, how many pairs come of it."""
    from tasks.judging.files import report_judgements

    found = report_judgements(files)
    return CommandResult(found.to_json(), lambda console: _report(console, found))


@app.command()
@prints_result
def export(
    files: Files,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="to write; one that is there stays as it is")],
    form: Annotated[
        Literal["pairs", "argilla", "label-studio"], typer.Option("--format", help="pairs: as a recipe trains on them")
    ] = "pairs",
    as_json: AsJson = False,
) -> CommandResult:
    """Write what people agree on as pairs, or all they said as another program's file."""
    from tasks.judging.files import export_judgements

    found = export_judgements(files, to, form)

    def show(console: Console) -> None:
        _say(console, f"{found.file}: {found.rows} {'pairs' if form == 'pairs' else 'records'}")
        for reason, count in found.left_out.items():
            _say(console, f"  {count:>6}  {reason}", "dim")

    return CommandResult(found.to_json(), show)


@app.command("import")
@prints_result
def import_(
    file: Annotated[Path, typer.Argument(help="JSON that Argilla or Label Studio exported")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE.jsonl", help="judgements: new, or to be added to")],
    form: Annotated[
        Literal["argilla", "label-studio"] | None, typer.Option("--format", help="unset: by what stands in it")
    ] = None,
    as_json: AsJson = False,
) -> CommandResult:
    """Add what people said in another program to a file of judgements."""
    from tasks.judging.files import import_judgements

    found = import_judgements(file, to, form)

    def show(console: Console) -> None:
        _say(console, f"{found.file}: {found.judgements} judgements added, of {found.records} records")
        for one in found.unread[:3]:
            _say(console, f"  left out  {one.where}: {one.says}", "yellow")
        if len(found.unread) > 3:
            _say(console, f"  and {len(found.unread) - 3} more; --json names all", "yellow")

    return CommandResult(found.to_json(), show)


def _opened(desk: "Desk") -> list[str]:
    """What there is to judge, what was left out, where it is kept."""
    source = desk.source
    said = len(desk.judged.standing())
    lines = [f"{len(source.items):,} items of {source.name}; judgements in {desk.file.path}, {said:,} so far"]
    if source.left_out:
        first = source.left_out[0]
        lines.append(f"{len(source.left_out):,} rows cannot be judged; the first, {first.where}: {first.reason}")
    return [*lines, *desk.notices]


def _ended(console: Console, desk: "Desk") -> None:
    file = desk.file.path
    said = len(desk.judged.standing())
    console.print(f"\n{said:,} judgements in {file}", highlight=False)
    if said:
        for command, why in (
            (f"judge report {file}", "agreement, what is to be settled"),
            (f"judge export {file} --to pairs.jsonl", "pairs of what people agree on"),
        ):
            console.print(Text(f"  {program('dpo')} {command}") + Text(f"   # {why}", style="dim"), soft_wrap=True)


def _report(console: Console, found: "PeopleDocument") -> None:
    _say(console, f"{found.items} items judged, {found.pairs_made} pairs come of them", "bold")
    for reason, count in found.left_out.items():
        _say(console, f"  {count:>6}  {reason}", "dim")
    for one in found.people:
        left = (
            "" if one.left is None or one.left.value is None else f", of the preferred {one.left.value:.0%} stood left"
        )
        _say(
            console,
            f"  {one.name}: {one.judged} judged ({one.ties} ties, {one.bad} both bad), {one.skipped} skipped{left}",
        )
    for both in [*found.pairs, *([found.together] if found.together and len(found.pairs) > 1 else [])]:
        same, beyond = both.agreement, both.kappa
        kappa = "not defined: both always say one thing"
        if beyond.value is not None:
            kappa = f"{beyond.value:.2f} ({beyond.low:.2f} to {beyond.high:.2f})"
        _say(console, f"  {' and '.join(both.people)}: {both.items} items, agreement {same.value:.0%}, kappa {kappa}")
    if found.disagreements:
        _say(console, f"  {len(found.disagreements)} to settle: D on the page", "yellow")


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(printable(line), style=style), soft_wrap=True)

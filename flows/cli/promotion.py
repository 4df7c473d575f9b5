"""`dpo promote`, `rollback`, `hold`, `approve`, `history`: what people do to a model's champion, and its record."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import FAILED, CommandResult, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from infra.store.base import Store
    from tasks.ledger_documents import History, HistoryEntry, PromotionDocument

Name = Annotated[str, typer.Argument(help="registered model")]
Number = Annotated[int, typer.Argument(min=1, metavar="VERSION", help="its version")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="the reason, for the record")]
Who = Annotated[str | None, typer.Option("--by", metavar="WHO", help="who decides it; default: your login name")]


@prints_result
def promote(name: Name, version: Number, why: Why, by: Who = None, as_json: AsJson = False) -> CommandResult:
    """Make a version champion by hand, whatever its gate said. One that needs approval waits for that."""
    commands, store, who = _ready(by)
    return _shown(commands.promote(store, name, version, who=who, why=_reason(why)))


@prints_result
def rollback(
    name: Name,
    why: Why,
    to: Annotated[
        int | None, typer.Option("--to", min=1, metavar="VERSION", help="default: the champion before")
    ] = None,
    by: Who = None,
    as_json: AsJson = False,
) -> CommandResult:
    """Back to an earlier champion; the version left stays barred until a person promotes it."""
    commands, store, who = _ready(by)
    return _shown(commands.rollback(store, name, to, who=who, why=_reason(why)))


@prints_result
def hold(
    name: Name,
    why: Why,
    lift: Annotated[bool, typer.Option("--lift", help="end the hold")] = False,
    by: Who = None,
    as_json: AsJson = False,
) -> CommandResult:
    """Let no run promote anything of this name; --lift ends that."""
    commands, store, who = _ready(by)
    return _shown(commands.hold(store, name, lift=lift, who=who, why=_reason(why)))


@prints_result
def approve(
    name: Name,
    version: Number,
    by: Annotated[str, typer.Option("--by", metavar="WHO", help="who approves: not who asked for it")],
    why: Why,
    reject: Annotated[bool, typer.Option("--reject", help="end its wait: it is not promoted")] = False,
    as_json: AsJson = False,
) -> CommandResult:
    """Promote a version that waits for approval (`promotion.approval: required`), or reject it."""
    commands, store, who = _ready(by)
    return _shown(commands.approve(store, name, version, by=who, why=_reason(why), reject=reject))


@prints_result
def history(
    name: Name,
    verify: Annotated[bool, typer.Option("--verify", help="also compare every version with what was recorded")] = False,
    as_json: AsJson = False,
) -> CommandResult:
    """Who promoted which version over which, when and why. Exit code 1 if something is not as recorded."""
    commands, store = _ready_to_look()
    found = commands.history(store, name, verify=verify)
    code = FAILED if found.verdict == "fail" else 0
    return CommandResult(found.to_json(), lambda console: _show_history(console, found), code)


def _ready_to_look() -> "tuple[ModuleType, Store]":
    """The commands and the store."""
    get_ready()
    from infra.settings import load_settings
    from infra.store import open_store
    from tasks.commands import promotion

    return promotion, open_store(load_settings())


def _ready(by: str | None) -> "tuple[ModuleType, Store, str]":
    """The commands, the store, and who decides."""
    commands, store = _ready_to_look()
    from dpo_core.errors import InputError
    from tasks.runtime.provenance import user

    who = user() if by is None else by.strip()
    if not who:
        raise InputError("nobody is named who decides this", where="--by", do="name a person: --by WHO")
    return commands, store, who


def _reason(why: str) -> str:
    from dpo_core.errors import InputError

    if not why.strip():
        raise InputError("a reason is empty", where="--why", do='say it in a few words: --why "it answers in French"')
    return why.strip()


def _shown(document: "PromotionDocument") -> CommandResult:
    def show(console: Console) -> None:
        champion = f"version {document.champion_version}" if document.champion_version else "none"
        head = document.action.replace("_", " ").upper() if document.changed else "UNCHANGED"
        console.print(f"[bold]{head}[/]  {document.model}; champion: {champion}; ledger entry {document.entry}")
        for line in _waits(document):
            console.print(Text(f"  {line}"), soft_wrap=True)
        if document.held:
            console.print(f"  no run promotes: dpo hold {document.model} --lift --why ... ends that")

    return CommandResult(document.to_json(), show)


def _show_history(console: Console, found: "History") -> None:
    champion = f"version {found.champion_version}" if found.champion_version else "none"
    console.print(f"[bold]{found.model}[/]  champion: {champion}", soft_wrap=True)
    for entry in found.entries:
        console.print(Text(_line(entry)), soft_wrap=True)
    for line in _waits(found):
        console.print(Text(line), soft_wrap=True)
    for version in found.expired:
        again = f"dpo promote {found.model} {version} --why ... asks for it anew"
        console.print(Text(f"version {version}: nobody approved it in time; {again}"), soft_wrap=True)
    if found.weights_removed:
        numbers = ", ".join(map(str, found.weights_removed))
        console.print(Text(f"weights removed (registry.keep): version {numbers}", style="dim"), soft_wrap=True)
    if found.held is not None:
        console.print(Text(f"on hold: {printable(found.held)}", style="bold yellow"))
    for problem in found.problems:
        console.print(Text(problem, style="bold red"), soft_wrap=True)


def _waits(found: "History | PromotionDocument") -> "Iterator[str]":
    for version in found.waiting:
        over, do = "", f"dpo approve {found.model} {version} --by WHO --why ..."
        if version in found.overtaken:
            over, do = " over a former champion", f"dpo promote {found.model} {version} --why ... asks anew"
        yield f"version {version} waits for approval{over}: {do}"


def _line(entry: "HistoryEntry") -> str:
    version = "" if entry.version is None else f" version {entry.version}"
    over = "" if entry.over is None or entry.over == entry.version else f" over {entry.over}"
    who = f" by {entry.who}" if entry.who else ""
    run = " (run)" if entry.by_run else ""
    text = f"{entry.seq:4} {entry.at[:16].replace('T', ' ')} {entry.kind.replace('_', ' ')}{version}{over}{who}{run}"
    return printable(f"{text}: {entry.why}" if entry.why else text)

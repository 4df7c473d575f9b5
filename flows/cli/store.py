"""`dpo store`: look at the object store, check every byte of it, and remove what nothing leads to."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import DONE, FAILED, CommandResult

if TYPE_CHECKING:
    from infra.store.base import Store

app = typer.Typer(help="Look at the store, verify it, remove what nothing leads to.", no_args_is_help=True)

Prefix = Annotated[str, typer.Argument(metavar="[PREFIX]", help="only keys that begin so, e.g. models/")]


@app.command()
@prints_result
def ls(prefix: Prefix = "", as_json: AsJson = False) -> CommandResult:
    """The objects, with size and time of the last write."""
    from flows.cli.documents import ListedObject, StoreListing

    store = _store()
    objects = [ListedObject(key=o.key, size=o.size, modified=_time(o.modified)) for o in store.entries(prefix)]
    document = StoreListing(store=store.url, objects=objects)

    def show(console: Console) -> None:
        _show(console, [(item.size, item.modified, item.key) for item in objects])

    return CommandResult(document.to_json(), show)


@app.command()
@prints_result
def du(prefix: Prefix = "", as_json: AsJson = False) -> CommandResult:
    """How many objects and bytes of each kind."""
    from flows.cli.documents import KindUsage, StoreUsage
    from tasks.commands.verify_store import totals

    store = _store()
    kinds = [KindUsage(**vars(total)) for total in totals(list(store.entries(prefix)))]
    document = StoreUsage(store=store.url, size=sum(kind.size for kind in kinds), kinds=kinds)

    def show(console: Console) -> None:
        _show(console, [(kind.size, str(kind.objects), kind.kind) for kind in kinds])
        console.print(f"{decimal(document.size)} in {store.url}")

    return CommandResult(document.to_json(), show)


@app.command()
@prints_result
def verify(prefix: Prefix = "", as_json: AsJson = False) -> CommandResult:
    """Read every object and compare it with its SHA-256. Exit code 1 if one is damaged."""
    from flows.cli.documents import StoreVerification
    from tasks.commands.verify_store import verify as verify_all

    store = _store()
    found = StoreVerification.model_validate({"store": store.url, **vars(verify_all(store, prefix))})

    def show(console: Console) -> None:
        console.print(f"{found.objects} objects, {decimal(found.size)}: {len(found.damaged)} damaged", highlight=False)
        if found.unknown:
            console.print(f"{found.unknown} carry no digest: other programs wrote them", style="dim")
        for fault in found.damaged:
            console.print(f"{fault.key}\n  {fault.says}", markup=False)

    return CommandResult(found.to_json(), show, FAILED if found.damaged else DONE)


@app.command()
@prints_result
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="remove it; without this it is only listed")] = False,
    older_than_days: Annotated[float, typer.Option(min=1, help="what was written since then is kept")] = 7,
    as_json: AsJson = False,
) -> CommandResult:
    """List what no model version leads to and no run wrote lately, and old copies on this machine."""
    from flows.cli.documents import GarbageItem, GarbageReport
    from infra.registry import versions
    from infra.settings import load_settings
    from tasks.commands.gc import DAY_S, find_garbage, remove, weights_removed
    from tasks.commands.home_garbage import find_leftovers, remove_leftovers

    store, home = _store(), load_settings().home
    garbage = find_garbage(store, older_than_s=older_than_days * DAY_S)
    leftovers = find_leftovers(home, older_than_s=older_than_days * DAY_S)
    if delete:
        leftovers = remove_leftovers(leftovers, home)
        remove(store, garbage)
    items = [GarbageItem(size=u.size, modified=_time(u.modified), name=u.name) for u in garbage.units]
    items += [
        GarbageItem(size=o.size, modified=_time(o.modified), name=f"unfinished {o.key}") for o in garbage.unfinished
    ]
    here = [GarbageItem(size=o.size, modified=_time(o.used), name=str(o.path)) for o in leftovers]
    gone = len(weights_removed(versions.all_versions()))
    size = sum(item.size for item in [*items, *here])
    document = GarbageReport(
        store=store.url, size=size, garbage=items, on_this_machine=here, deleted=delete, weights_removed=gone
    )

    def show(console: Console) -> None:
        every = [*items, *here]
        _show(console, [(item.size, item.modified, item.name) for item in every])
        done = "removed" if delete else "to remove with --delete"
        says = f"{len(every)} of them, {decimal(document.size)}, {done}" if every else "nothing to remove"
        console.print(says, highlight=False)
        if gone:
            console.print(f"models whose weights registry.keep removed before: {gone}", highlight=False, style="dim")

    return CommandResult(document.to_json(), show)


def _store() -> "Store":
    get_ready()
    from infra.settings import load_settings
    from infra.store import open_store

    return open_store(load_settings())


def _show(console: Console, rows: Sequence[tuple[int, str, str]]) -> None:
    """A line a row: size in bytes, then the texts."""
    for size, *texts in rows:
        console.print("  ".join([f"{decimal(size):>10}", *texts]), soft_wrap=True, markup=False)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

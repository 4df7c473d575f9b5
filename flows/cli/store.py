"""`dpo store`: look at the object store, check every byte of it, and remove what nothing leads to."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.cli.command import AsJson, prints_result, get_ready
from flows.cli.console import FAILED, CommandResult

app = typer.Typer(help="Look at the store, verify it, remove what nothing leads to.", no_args_is_help=True)

Prefix = Annotated[str, typer.Argument(metavar="[PREFIX]", help="only keys that begin so, e.g. models/")]


@app.command()
@prints_result
def ls(prefix: Prefix = "", as_json: AsJson = False) -> CommandResult:
    """The objects, with size and time of the last write."""
    store = _store()
    rows = [{"key": e.key, "size": e.size, "modified": _time(e.modified)} for e in store.entries(prefix)]
    return CommandResult({"store": store.url, "objects": rows}, lambda console: _show(console, rows, ("modified", "key")))


@app.command()
@prints_result
def du(prefix: Prefix = "", as_json: AsJson = False) -> CommandResult:
    """How many objects and bytes of each kind."""
    from tasks.commands.verify_store import totals

    store = _store()
    rows = [vars(total) for total in totals(list(store.entries(prefix)))]
    size = sum(row["size"] for row in rows)

    def show(console: Console) -> None:
        _show(console, rows, ("objects", "kind"))
        console.print(f"{_bytes(size)} in {store.url}")

    return CommandResult({"store": store.url, "size": size, "kinds": rows}, show)


@app.command()
@prints_result
def verify(prefix: Prefix = "", as_json: AsJson = False) -> CommandResult:
    """Read every object and compare it with its SHA-256. Exit code 1 if one is damaged."""
    from tasks.commands.verify_store import verify as verify_all

    store = _store()
    found = verify_all(store, prefix)

    def show(console: Console) -> None:
        console.print(f"{found.objects} objects, {_bytes(found.size)}: {len(found.damaged)} damaged", highlight=False)
        if found.unknown:
            console.print(f"{found.unknown} carry no digest: other programs wrote them", style="dim")
        for fault in found.damaged:
            console.print(f"{fault['key']}\n  {fault['says']}", markup=False)

    return CommandResult({"store": store.url, **vars(found)}, show, FAILED if found.damaged else 0)


@app.command()
@prints_result
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="remove it; without this it is only listed")] = False,
    older_than_days: Annotated[float, typer.Option(min=1, help="what was written since then is kept")] = 7,
    as_json: AsJson = False,
) -> CommandResult:
    """List what no model version leads to and no run wrote lately; remove it with --delete."""
    from tasks.commands.gc import DAY_S, find_garbage, remove

    store = _store()
    garbage = find_garbage(store, older_than_s=older_than_days * DAY_S)
    if delete:
        remove(store, garbage)
    rows: list[dict[str, Any]] = [
        {"size": u.size, "modified": _time(u.modified), "name": u.name} for u in garbage.units
    ]
    rows += [{"size": e.size, "modified": _time(e.modified), "name": f"unfinished {e.key}"} for e in garbage.unfinished]
    size = sum(row["size"] for row in rows)

    def show(console: Console) -> None:
        _show(console, rows, ("modified", "name"))
        done = "removed" if delete else "to remove with --delete"
        console.print(f"{len(rows)} of them, {_bytes(size)}, {done}" if rows else "nothing to remove", highlight=False)

    return CommandResult({"store": store.url, "size": size, "garbage": rows, "deleted": delete}, show)


def _store() -> Any:
    get_ready()
    from infra.settings import load_settings
    from infra.store import open_store

    return open_store(load_settings())


def _show(console: Console, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    for row in rows:
        texts = [f"{_bytes(row['size']):>10}", *(str(row[name]) for name in columns)]
        console.print("  ".join(texts), soft_wrap=True, markup=False)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"

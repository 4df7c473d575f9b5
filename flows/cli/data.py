"""`dpo data`: data sets of the store, version by version: list, show, add, compare, mix, export, forget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import CommandResult, printable

if TYPE_CHECKING:
    from infra.datasets.manifest import DatasetVersion
    from infra.datasets.shelf import Shelved
    from infra.store.base import Store
    from tasks.datasets.records import DatasetDiff, DatasetShown, ForgottenDocument, TrainedModel

app = typer.Typer(help="Data sets of the store: immutable versions, compared, mixed, forgotten.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="of the data set")]
Version = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="a version; without a number the latest")]
Notes = Annotated[str, typer.Option("--notes", metavar="TEXT", help="for the record")]
TEXT_SHOWN = 300  # characters of a message


@app.command()
@prints_result
def ls(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="all versions of this one")] = None,
    as_json: AsJson = False,
) -> CommandResult:
    """The data sets, each with its latest version; or every version of one."""
    store = _store()
    from tasks.datasets.look import list_datasets

    found = list_datasets(store, name)

    def show(console: Console) -> None:
        for line in found.datasets:
            facts = (
                f"{line.rows:>9} rows",
                line.created[:16],
                line.how or "-",
                line.user or "-",
                _licences(line.licences),
            )
            _say(console, f"{line.name}@{line.version:<4} {'  '.join(facts)}")
        if not found.datasets:
            _say(console, f"no data sets in {found.store}; dpo data add NAME FILE makes one")

    return CommandResult(found.to_json(), show)


@app.command()
@prints_result
def show(
    version: Version,
    rows: Annotated[int, typer.Option("--rows", min=0, help="how many of the first rows")] = 3,
    as_json: AsJson = False,
) -> CommandResult:
    """A version: where its rows came from, licences, the first rows with their ids, the models trained on it."""
    store = _store()
    from tasks.datasets.look import show_dataset

    found = show_dataset(store, version, rows)
    return CommandResult(found.to_json(), lambda console: _show(console, found))


@app.command()
@prints_result
def add(
    name: Name,
    source: Annotated[str, typer.Argument(help="pairs: file, folder, pattern, s3://, dataset:NAME or HF data set")],
    licence: Annotated[str, typer.Option("--licence", metavar="SPDX", help="of the rows, such as CC-BY-4.0")] = "",
    notes: Notes = "",
    as_json: AsJson = False,
) -> CommandResult:
    """Make finished pairs the next version of a data set. The same pairs again are the version that they are."""
    store = _store()
    from tasks.datasets.write import add_source

    done, bad = add_source(store, name, source, licence=licence, notes=notes)
    more = []
    if bad is not None:
        more = [f"{done.version.unreadable} rows are no pairs and were left out; the first, {bad.where}: {bad.reason}"]
    return _written(store, done, more)


@app.command()
@prints_result
def mix(
    name: Name,
    parts: Annotated[
        list[str],
        typer.Option(
            "--from",
            metavar="NAME@VERSION[:SHARE|:CAP]",
            help="all rows of a version, a share of them (:0.5), or so many at most (:500); again: more",
        ),
    ],
    notes: Notes = "",
    as_json: AsJson = False,
) -> CommandResult:
    """Draw rows from several versions; which, goes by a hash, so that a row that is added moves no other."""
    store = _store()
    from tasks.datasets.mix import mix_versions, parse_part

    done = mix_versions(store, name, [parse_part(part) for part in parts], notes=notes)
    version = done.version
    return _written(store, done, [f"{version.repeated} rows were in an earlier one too"] if version.repeated else [])


@app.command()
@prints_result
def diff(
    before: Version,
    after: Version,
    as_json: AsJson = False,
) -> CommandResult:
    """What came, what went and what moved from one version to another."""
    store = _store()
    from tasks.datasets.diff import diff_versions

    found = diff_versions(store, before, after)
    return CommandResult(found.to_json(), lambda console: _diff(console, found))


@app.command()
@prints_result
def export(
    version: Version,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="to write; one that is there stays as it is")],
    as_json: AsJson = False,
) -> CommandResult:
    """Write a version's rows to a file, as they are stored: TRL's columns, JSON lines, without forgotten ones."""
    store = _store()
    from tasks.datasets.export import export_version

    found = export_version(store, version, file)

    def show(console: Console) -> None:
        _say(console, f"{found.file}: {found.rows} rows of {found.dataset}, {decimal(found.size)}")
        if found.forgotten:
            _say(console, f"  {found.forgotten} of its rows were forgotten since: they are not in it", "yellow")

    return CommandResult(found.to_json(), show)


@app.command()
@prints_result
def forget(
    item: Annotated[str, typer.Argument(metavar="ID", help="of a row or a prompt, as `dpo data show` prints it")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="the reason, for the record")] = "",
    as_json: AsJson = False,
) -> CommandResult:
    """Leave a row, or all rows of a prompt, out of every later version and every later run; say who has had it."""
    store = _store()
    from tasks.datasets.forget import forget_id
    from tasks.runtime.provenance import user

    found = forget_id(store, item, why=why, who=user())
    return CommandResult(found.to_json(), lambda console: _forgot(console, found))


def _store() -> "Store":
    get_ready()
    from infra.settings import load_settings
    from infra.store import open_store

    return open_store(load_settings(), patient=True)


def _written(store: "Store", done: "Shelved", more: list[str]) -> CommandResult:
    from infra.datasets.names import parse
    from infra.datasets.shelf import find
    from tasks.datasets.records import DatasetWritten

    version = done.version
    latest = find(store, parse(version.name)).number
    document = DatasetWritten(version=version, new=done.is_new, latest=latest)

    def show(console: Console) -> None:
        if not done.is_new:
            also = f"; the latest is version {latest}" if latest != version.number else ""
            _say(console, f"these rows are version {version.number} of {version.name} already{also}")
        _facts(console, version)
        for line in more:
            _say(console, line)
        _say(console, f"in a recipe:  data: {{train: {version.ref}}}, or {version.ref.partition('@')[0]}@latest")

    return CommandResult(document.to_json(), show)


def _facts(console: Console, version: "DatasetVersion") -> None:
    made = version.made_by
    by = f"{made.how or 'made'} by {made.user or 'somebody'}{f', MLflow run {made.run_id}' if made.run_id else ''}"
    _say(console, f"{version.ref}  {version.rows} rows, {decimal(version.size)}, {version.created[:16]}, {by}", "bold")
    _say(console, f"  rows, SHA-256   {version.sha256}")
    _say(console, f"  licences        {_licences(version.licences)}")
    for source in version.sources:
        _say(console, f"  {source.rows:>9} rows from {source.source}  ({source.licence or 'licence not stated'})")
    for name, rows in version.by_source.items():
        _say(console, f"  {rows:>9} rows say their source is {name or '(nothing)'}")
    left_out = {"were forgotten": version.forgotten, "were no pairs": version.unreadable}
    for why, rows in left_out.items():
        if rows:
            _say(console, f"  {rows:>9} rows left out: they {why}")
    if version.notes:
        _say(console, f"  {version.notes}")


def _show(console: Console, found: "DatasetShown") -> None:
    _facts(console, found.version)
    if found.latest != found.version.number:
        _say(console, f"  the latest is version {found.latest}")
    if found.forgotten_since:
        _say(console, f"  {found.forgotten_since} of its rows were forgotten since: no run reads them", "yellow")
    _models(console, found.models)
    for row in found.first:
        _say(console, f"row {row.row}  prompt {row.prompt_id[:16]}", "dim")
        for side, messages in row.pair.items():
            for message in messages:
                text = " ".join(str(message["content"]).split())
                cut = text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}..."
                _say(console, f"  {side:<9}{message['role']}: {cut}")


def _diff(console: Console, found: "DatasetDiff") -> None:
    _say(console, f"{found.before} -> {found.after}", "bold")
    for line in found.says:
        _say(console, f"  {line}")
    for title, moves, form in (
        ("rows by source", found.sources, "{:.0f}"),
        ("pairs whose chosen answer has the word", found.words, "{:.1%}"),
    ):
        if moves:
            _say(console, title)
        for move in moves:
            _say(
                console, f"  {move.name or '(nothing)':<24} {form.format(move.before):>8} -> {form.format(move.after)}"
            )


def _forgot(console: Console, found: "ForgottenDocument") -> None:
    already = "" if found.new else " already"
    what = {"row_id": "row", "unknown": "id, which no version holds,"}.get(found.kind, found.kind)
    _say(console, f"forgotten{already}: the {what} {found.asked} is in no later version, and no later run reads it")
    for held in found.held_by:
        _say(console, f"  {held.dataset} holds it ({held.rows} rows): kept for lineage, read without it")
    for copy in found.deleted_here:
        _say(console, f"  deleted on this machine: {copy}")
    if found.kept_in:
        _say(console, f"  in the store it is in {', '.join(found.kept_in)}: who must erase it deletes these")
    _models(console, found.models)
    if found.models:
        _say(console, "  models keep what they learned: train them anew from a model that has not had it")


def _models(console: Console, models: "list[TrainedModel] | None") -> None:
    if models is None:
        _say(console, "  the registry does not answer: which models were trained on it is not known", "yellow")
    for model in models or []:
        how = f"started from {model.through}, which was trained" if model.through else "was trained"
        _say(console, f"  models:/{model.model}/{model.version} {how} on {model.data}")


def _licences(licences: "list[str] | tuple[str, ...]") -> str:
    return ", ".join(licence or "not stated" for licence in licences)


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(printable(line), style=style), soft_wrap=True)

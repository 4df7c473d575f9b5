"""The command line `dpo`. Each command imports what it needs when it runs, so that `dpo --help` answers at once."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import BAD_INPUT, CHECK_FAILED, DONE, INTERRUPTED, NOT_PROMOTED, CommandResult, serve, trouble
from flows.cli.curate import curate
from flows.cli.data import app as data_commands
from flows.cli.gate import gate
from flows.cli.init import init
from flows.cli.judge import app as judge_commands
from flows.cli.lineage import lineage
from flows.cli.logs import terminal_logs
from flows.cli.moving import import_config
from flows.cli.promotion import approve, history, hold, promote, rollback
from flows.cli.store import app as store_commands
from flows.cli.tune import tune

if TYPE_CHECKING:
    from tasks.documents import CheckDocument

app = typer.Typer(
    name="dpo",
    help="Retrain a language model on preferences: check, score, train, evaluate, register, gate, promote.",
    epilog="Exit codes: 0 done (or nothing to do), 2 bad input, 3 data check failed, 4 not promoted, "
    "75 a server does not answer, 130 interrupted, 1 anything else.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(store_commands, name="store")
app.add_typer(data_commands, name="data")
app.add_typer(judge_commands, name="judge")
app.command()(init)
app.command(name="import")(import_config)
app.command()(curate)
app.command()(tune)
app.command()(gate)
app.command()(lineage)
for command in (promote, approve, rollback, hold, history):
    app.command()(command)

RecipePath = Annotated[str, typer.Argument(metavar="RUN.yaml", help="the recipe of the run")]
Model = Annotated[str, typer.Argument(help="folder, HF id, GGUF file or models:/NAME@champion")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="override one key of the recipe")]


def main() -> None:
    """Entry point of the console script. A closed terminal (without nohup) and a `kill` interrupt like Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """One call of the command line; returns the exit code. `--debug` may stand anywhere."""
    debug, as_json = "--debug" in arguments, "--json" in arguments
    rest = [argument for argument in arguments if argument != "--debug"]
    try:
        with terminal_logs(debug=debug):
            return int(app(args=rest, prog_name="dpo", standalone_mode=False) or DONE)
    except typer.Abort:
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        message, command = error.format_message(), next((name for name in rest if not name.startswith("-")), "")
        return serve(lambda: _misuse(message, command), as_json=as_json)


def _misuse(message: str, command: str) -> CommandResult | None:
    if not command:  # `dpo` alone: typer has the help text as the message
        typer.echo(message)
        return CommandResult({}, lambda console: None, BAD_INPUT)
    known = any(command == (info.name or info.callback.__name__) for info in app.registered_commands if info.callback)
    known |= any(command == group.name for group in app.registered_groups)
    return trouble(message, f"dpo {command}", f"see dpo {command + ' ' if known else ''}--help", BAD_INPUT)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dpo-pipeline {version('dpo-pipeline')}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="tracebacks, and what the libraries log")] = False,
) -> None: ...


@app.command()
@prints_result
def retrain(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    force: Annotated[bool, typer.Option("--force", help="run every stage again, finished or not")] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="train so many seeds; the middle one goes to the gate")
    ] = None,
    as_json: AsJson = False,
) -> CommandResult:
    """Check the data, train, evaluate, register, and promote what is better."""
    from dpo_core.recipe_file import load_recipe

    overrides = [*overrides, *([] if seeds is None else [f"training.seeds={seeds}"])]

    load_recipe(recipe, overrides)  # a mistake in the recipe costs no start-up and leaves nothing behind
    get_ready(to_run_a_flow=True)
    from flows.cli.screens import show_retrain
    from flows.retrain import retrain as flow
    from tasks.documents import DataCheckFailed

    try:
        done = flow(recipe, overrides, force=force)
    except DataCheckFailed as failed:
        return _checked(failed.document)
    document = done.document
    code = NOT_PROMOTED if document.state in ("held", "rejected") else DONE
    return CommandResult(document.to_json(), lambda console: show_retrain(console, done), code)


@app.command()
@prints_result
def check(
    data: Annotated[
        str,
        typer.Argument(
            metavar="RUN.yaml|DATA",
            help="a recipe, or pairs: file, folder, pattern, s3://, dataset:NAME or HF data set",
        ),
    ],
    held_out: Annotated[str | None, typer.Option("--eval", help="held-out pairs: look for leakage")] = None,
    model: Annotated[str | None, typer.Option("--model", help="its tokenizer: also count training tokens")] = None,
    intended: Annotated[
        list[str],
        typer.Option(
            "--intended", metavar="WORD", help="an aim of the pairs: word, /expression/ or feature; again: more"
        ),
    ] = [],  # noqa: B006  (typer copies it)
    overrides: Overrides = [],  # noqa: B006
    earlier: Annotated[
        str | None, typer.Option("--compare", metavar="REPORT", help="earlier report: what changed")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="folder for the report")] = None,
    show_ids: Annotated[
        int | None, typer.Option("--show-ids", min=1, metavar="N", help="only print the tokens of N rows, with --model")
    ] = None,
    as_json: AsJson = False,
) -> CommandResult:
    """Look for bad rows, duplicates, leakage and shortcuts in preference pairs; train nothing.

    RUN.yaml: its pairs with its model and rules, as its run checks them. DATA: any pairs, by the rules' defaults.
    """
    from dpo_core.recipe_file import load_recipe, looks_like_recipe

    if show_ids is not None:
        from flows.cli.show_ids import show_ids as show

        get_ready()
        return show(data, model, show_ids, overrides, (held_out, earlier, report, intended))
    of_a_recipe = looks_like_recipe(data)
    if of_a_recipe:
        load_recipe(data, overrides)  # a mistake in the recipe costs no start-up
        _require_unset({"--eval": held_out, "--model": model}, data)
    get_ready(to_run_a_flow=of_a_recipe)
    from flows.quality import check_files, check_recipe

    folder = str(report) if report else None
    if of_a_recipe:
        return _checked(check_recipe(data, overrides, intended, folder, earlier))
    return _checked(check_files(data, held_out, model, folder, earlier, intended, overrides))


def _require_unset(options: dict[str, str | None], recipe: str) -> None:
    """Options that a recipe has keys for."""
    from dpo_core.errors import InputError

    for option, value in options.items():
        if value is not None:
            key = {"--eval": "data.eval", "--model": "model"}[option]
            do = f"leave it out, or write --set {key}=... (paths are meant from the recipe's folder)"
            raise InputError(f"a recipe names this itself: its key {key}", where=f"{option} {value}", do=do)


def _checked(document: "CheckDocument") -> CommandResult:
    from flows.cli.screens import show_check

    code = CHECK_FAILED if document.verdict == "fail" else DONE
    return CommandResult(document.to_json(), lambda console: show_check(console, document), code)


@app.command()
@prints_result
def evaluate(
    model: Model,
    data: Annotated[str, typer.Argument(help="pairs to evaluate on")],
    reference: Annotated[str | None, typer.Option(help="model to compare with")] = None,
    beta: Annotated[float, typer.Option(help="reward per nat of log-ratio")] = 0.1,
    overrides: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
) -> CommandResult:
    """Preference metrics of a model, with 95 % intervals, against a reference if one is named."""
    from dpo_core.recipe_file import recipe_of_evaluation

    recipe_of_evaluation(model, data, overrides, beta)  # a mistake costs no start-up
    get_ready(to_run_a_flow=True)
    from flows.cli.screens import show_evaluation
    from flows.evaluate import evaluate as flow

    document = flow(model, data, reference, beta, overrides)
    return CommandResult(document.to_json(), lambda console: show_evaluation(console, document))


@app.command()
@prints_result
def chat(
    model: Model,
    against: Annotated[str | None, typer.Option(help="a second model that answers beside the first")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="longest answer, in tokens")] = 256,
) -> None:
    """Talk to a model, or to two side by side. /reset, /system TEXT, /quit."""
    get_ready()
    from flows.cli.chat import talk

    talk([model, against] if against else [model], max_new_tokens)


@app.command()
@prints_result
def config(
    recipe: Annotated[str | None, typer.Argument(metavar="[RUN.yaml]", help="the recipe of a run")] = None,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    schema: Annotated[bool, typer.Option("--schema", help="every key: type, default, meaning")] = False,
    as_json: AsJson = False,
) -> CommandResult:
    """The effective recipe and settings, and where each value comes from."""
    from flows.cli.config import describe_run, describe_schema

    return describe_schema() if schema or recipe is None else describe_run(recipe, overrides)


@app.command()
@prints_result
def doctor(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN.yaml]", help="also: what this run needs, and what its gate can tell")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="also: at which tokens its answers end")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="RUN.yaml", hidden=True)] = None,
    trial: Annotated[bool, typer.Option("--trial", help="take ten steps of the run, and go by them")] = False,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    as_json: AsJson = False,
) -> CommandResult:
    """Is this machine ready: versions, memory, disk, store, MLflow, Prefect; of a run its memory, time, disk, gate."""
    get_ready()
    from dpo_core.errors import InputError
    from flows.cli.documents import DoctorFinding, DoctorReport
    from flows.cli.screens import show_doctor
    from tasks.commands.doctor import examine
    from tasks.preflight.findings import RunChecks

    path = run or recipe
    if path is None and (trial or overrides):
        do = "name the recipe: dpo doctor RUN.yaml"
        raise InputError("--trial and --set are for a run", where="dpo doctor", do=do)
    asked = None if path is None else RunChecks(path, overrides, trial=trial)
    findings = [DoctorFinding(**vars(found)) for found in examine(model, asked.checks if asked else [])]
    failed = any(finding.status == "fail" for finding in findings)
    before = asked.preflight if asked else None
    report = DoctorReport(verdict="fail" if failed else "pass", findings=findings, preflight=before)
    code = BAD_INPUT if failed else DONE
    return CommandResult(report.to_json(), lambda console: show_doctor(console, findings), code)

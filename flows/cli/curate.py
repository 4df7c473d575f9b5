"""`dpo curate`: pairs from the model's own answers or from feedback, as a data set version; or rounds of it."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import CHECK_FAILED, CommandResult, printable, program

if TYPE_CHECKING:
    from tasks.curate.documents import CurateDocument, RoundsDocument


@prints_result
def curate(
    recipe: Annotated[str, typer.Argument(metavar="CURATION.yaml", help="the recipe of the curation")],
    overrides: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="override one key of the recipe")
    ] = [],  # noqa: B006  (typer copies it)
    force: Annotated[
        bool, typer.Option("--force", help="draw every answer anew; an endpoint's on record stay")
    ] = False,
    as_json: AsJson = False,
) -> CommandResult:
    """Make preference pairs: by correcting the model's answers, by choosing among several, or from feedback."""
    from dpo_core.curate.curation import load_curation

    curation = load_curation(recipe, overrides)  # a mistake in the recipe costs no start-up
    get_ready(to_run_a_flow=True)
    from flows.cli.screens import show_check
    from tasks.documents import DataCheckFailed

    try:
        if curation.rounds is not None:
            from flows.rounds import rounds

            told = rounds(recipe, overrides, force=force)
            return CommandResult(told.to_json(), lambda console: show_rounds(console, told))
        from flows.curate import curate as flow

        made = flow(recipe, overrides, force=force)
        return CommandResult(made.to_json(), lambda console: show_curation(console, made))
    except DataCheckFailed as failed:
        document = failed.document
        return CommandResult(document.to_json(), lambda console: show_check(console, document), CHECK_FAILED)


def show_curation(console: Console, made: "CurateDocument") -> None:
    """What was made, of what, what was left out, and what to type next."""
    if made.pilot:
        console.print(Text(f"pilot: {made.pilot}", style="dim"))
    console.print(f"\n{made.answers:,} answers to {made.prompts:,} prompts, by {made.model}", highlight=False)
    for reason, count in [*made.left_out.items(), *made.dropped.items()]:
        console.print(Text(f"  {count:>7,}  {printable(reason)}", style="dim"))
    if made.facts is not None:
        facts = made.facts
        console.print(
            f"answers of {facts.words:.1f} words, mean reward {facts.reward:.3g}; {facts.informative:.0%} of the "
            f"prompts tell a better answer from a worse one",
            highlight=False,
        )
    if made.changes:
        console.print(f"corrections change {made.changes['0.5']:.0%} of the words (median)", highlight=False)
    for note in made.notes:
        console.print(Padding(Text(printable(note), style="bold yellow"), (0, 0, 0, 2)))
    for name, report in made.judges.items():
        value, low, high = report["kappa"]
        kappa = f"{value:.2f} ({low:.2f} to {high:.2f})"
        console.print(f"judge {name}: kappa {kappa} on {report['pairs']} labelled pairs", highlight=False)
    for line in made.spent:
        doubt = f", {line.in_doubt} of them in doubt" if line.in_doubt else ""
        console.print(f"endpoint {line.endpoint}: {line.calls:,} calls{doubt}, {line.tokens:,} tokens", highlight=False)
    title = "MADE" if made.changed else "UNCHANGED"
    console.print(f"\n[bold green]{title}[/]  {made.dataset}  {made.rows:,} pairs; data check: {made.verdict}")
    for label, value in (("report", made.report), ("MLflow run", made.mlflow_run_id)):
        console.print(Text(f"{label:<12}", style="dim") + Text(str(value)), soft_wrap=True)
    name = made.dataset.removeprefix("dataset:")
    console.print("\nNext", style="bold")
    for command, why in (
        (f"{program('dpo')} data show {name}", "its first pairs, and where they came from"),
        (f"{program('dpo')} retrain RUN.yaml --set data.train={made.dataset}", "train on them"),
    ):
        console.print(Text(f"  {command}") + Text(f"   # {why}", style="dim"), soft_wrap=True)


def show_rounds(console: Console, told: "RoundsDocument") -> None:
    """The curves over rounds, and why there is no further one."""
    table = Table(title="Rounds", title_justify="left", title_style="bold", pad_edge=False, box=None)
    for column in ("round", "pairs", "words", "distinct", "informative", "reward", "model", "gate"):
        table.add_column(column, justify="left" if column in ("model", "gate") else "right")
    for line in told.rounds:
        facts = line.curation.facts
        numbers = ["-"] * 4
        if facts is not None:
            values = (facts.words, facts.distinct, facts.informative, facts.reward)
            numbers = [f"{value:.3g}" for value in values]
        table.add_row(
            str(line.number), f"{line.curation.rows:,}", *numbers, line.model or "-", line.verdict or "not trained"
        )
    console.print(table)
    console.print(Padding(Text(printable(told.ended)), (1, 0, 0, 0)))

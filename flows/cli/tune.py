"""`dpo tune`: better settings for a recipe, within a budget."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import CHECK_FAILED, DONE, NOT_PROMOTED, CommandResult, printable, program

if TYPE_CHECKING:
    from tasks.tune.documents import TuneDocument

STYLES = {"better": "bold green", "own_settings": "bold yellow", "none_holds": "bold red"}
TITLES = {"better": "FOUND", "own_settings": "STAY WITH YOUR SETTINGS", "none_holds": "NONE HOLDS ITS LIMITS"}


@prints_result
def tune(
    recipe: Annotated[str, typer.Argument(metavar="RUN.yaml", help="the recipe of the run")],
    overrides: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="override one key of the recipe")
    ] = [],  # noqa: B006  (typer copies it)
    as_json: AsJson = False,
) -> CommandResult:
    """Search better settings of training: on training prompts set aside, never on the gate's held-out pairs."""
    from dpo_core.recipe_file import load_recipe

    load_recipe(recipe, overrides)  # a mistake in the recipe costs no start-up
    get_ready(to_run_a_flow=True)
    from flows.cli.screens import show_check
    from flows.tune import tune as flow
    from tasks.documents import DataCheckFailed

    try:
        found = flow(recipe, overrides)
    except DataCheckFailed as failed:
        document = failed.document
        return CommandResult(document.to_json(), lambda console: show_check(console, document), CHECK_FAILED)
    code = NOT_PROMOTED if found.state == "none_holds" else DONE
    return CommandResult(found.to_json(), lambda console: show_search(console, found), code)


def show_search(console: Console, found: "TuneDocument") -> None:
    """The trials, what is recommended and why, what to type next."""
    from dpo_core.report.tune import lead, shown_settings

    table = Table(title="Trials", title_justify="left", title_style="bold", pad_edge=False, box=None)
    for column in ("trial", "settings", "pairs", found.objective, "around", ""):
        table.add_column(column, justify="left" if column in ("settings", "") else "right")
    for trial in found.trials:
        seen = max((rung.eighths for rung in trial.rungs), default=0)
        value, around = (f"{x:.3g}" if x is not None else "-" for x in (trial.value, trial.around))
        line = (str(trial.number), shown_settings(trial.settings), f"{seen}/8", value, around, printable(trial.reason))
        table.add_row(*line, style="bold" if trial.number == found.recommended else None)
    console.print(table)
    console.print(f"\n[{STYLES[found.state]}]{TITLES[found.state]}[/]  {found.model}, study {found.study}")
    console.print(Padding(Text(lead(found.to_json())), (0, 0, 0, 2)))
    used = ", ".join(f"{amount:,g} {what}" for what, amount in found.spent.items())
    for label, value in (("spent", used), ("report", found.report), ("MLflow run", found.mlflow_run_id)):
        console.print(Text(f"{label:<12}", style="dim") + Text(str(value)), soft_wrap=True)
    if found.recipe:
        console.print("\nNext", style="bold")
        why = "on the held-out pairs, which the search did not look at"
        command = Text(f"  {program('dpo')} retrain {found.recipe}")
        console.print(command + Text(f"   # {why}", style="dim"), soft_wrap=True)

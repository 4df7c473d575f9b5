"""`dpo gate`: the verdict on two models' scores, whoever made them."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from flows.cli.command import AsJson, prints_result
from flows.cli.console import DONE, NOT_PROMOTED, CommandResult, printable

if TYPE_CHECKING:
    from tasks.documents import GateCases, GateDocument


@prints_result
def gate(
    scores: Annotated[str, typer.Argument(metavar="SCORES.jsonl", help="an item a line: metric, item, scores")],
    rules: Annotated[str, typer.Option("--rules", metavar="RULES.yaml", help="a recipe's section gate, or a recipe")],
    looks: Annotated[
        int, typer.Option("--looks", min=1, metavar="N", help="candidates a year that are looked at on these items")
    ] = 1,
    as_json: AsJson = False,
) -> CommandResult:
    """Promote, hold or reject by a file of scores. No model, store or server is needed, and no budget is spent.

    Exit code 4 where it is not promoted; 0 with cases, once all are judged. docs/promotion.md has the format.
    """
    from tasks.commands.gate import judge_scores
    from tasks.documents import GateCases

    found = judge_scores(scores, rules, looks)
    if isinstance(found, GateCases):
        return CommandResult(found.to_json(), lambda console: _show_cases(console, found))
    code = DONE if found.verdict == "promote" else NOT_PROMOTED
    return CommandResult(found.to_json(), lambda console: _show(console, found), code)


def _show(console: Console, document: "GateDocument") -> None:
    from dpo_core.report.sentences import OUTCOMES
    from flows.cli.screens import VERDICTS

    console.print(Text(OUTCOMES[document.verdict].headline, style=VERDICTS[document.verdict]))
    for condition in document.conditions:
        word = {"promote": "holds", "hold_underpowered": "open"}.get(condition.verdict, "fails")
        mark = Text(f"{word:<7}", style=VERDICTS[condition.verdict])
        console.print(Padding(mark + Text(printable(condition.says)), (0, 0, 0, 2)))
    for note in document.notes:
        console.print(Padding(Text(note, style="dim"), (0, 0, 0, 2)))


def _show_cases(console: Console, document: "GateCases", most: int = 20) -> None:
    from flows.cli.screens import VERDICTS

    verdicts = [case.verdict for case in document.cases.values()]
    for verdict in dict.fromkeys(verdicts):
        console.print(Text(f"{verdicts.count(verdict):>7,} ") + Text(verdict, style=VERDICTS[verdict]))
    for name, case in list(document.cases.items())[:most]:
        console.print(Text(f"{case.verdict:<18}", style=VERDICTS[case.verdict]) + Text(printable(name)))
    if len(verdicts) > most:
        console.print(f"{len(verdicts) - most:,} more: --json has them all", style="dim")

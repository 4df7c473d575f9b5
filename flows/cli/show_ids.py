"""`dpo check DATA --show-ids N`: every token of some rows, in colours, and readable without them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from dpo_core.errors import InputError
from flows.cli.console import CommandResult, printable

if TYPE_CHECKING:
    from tasks.commands.show_ids import Token, TokenRows

PARTS = "\N{BOX DRAWINGS LIGHT VERTICAL}"
STYLES = {"context": "cyan", "chosen": "green", "rejected": "red"}
LEGEND = "context is read and not trained on; each answer's tokens are; \N{BOX DRAWINGS LIGHT VERTICAL} parts tokens"


def show_ids(
    data: str, model: str | None, count: int, overrides: Sequence[str], given: Sequence[object]
) -> CommandResult:
    """The rows' tokens. `given`: values of the options that only a check reads."""
    if any(given):
        raise InputError(
            "--show-ids prints rows and checks nothing, so --eval, --compare, --report and --intended have no effect",
            where="dpo check",
            do="leave them out, or leave --show-ids out",
        )
    from tasks.commands.show_ids import token_rows

    document = token_rows(data, model, count, overrides)
    return CommandResult(document.to_json(), lambda console: _show(console, document))


def _show(console: Console, document: "TokenRows") -> None:
    console.print(LEGEND, style="dim")
    for row in document.rows:
        sides = {"context": row.context, "chosen": row.chosen, "rejected": row.rejected}
        sizes = ", ".join(f"{name} {len(tokens)}" for name, tokens in sides.items())
        console.print(Text(f"\n{row.where}", style="bold").append(f"   tokens: {sizes}", style="dim"))
        for name, tokens in sides.items():
            console.print(Text(f"{name:<9}", style="dim") + _line(tokens, STYLES[name]), soft_wrap=True)
    for refused in document.refused:
        console.print(Text(f"\n{refused.where}", style="bold").append(f"   not used: {refused.reason}", style="yellow"))


def _line(tokens: "Sequence[Token]", style: str) -> Text:
    parts = (Text(_shown(token.text), style=f"{style} reverse" if token.special else style) for token in tokens)
    return Text(PARTS, style="dim").join(parts)


def _shown(text: str) -> str:
    """Line breaks and tabs as a person writes them."""
    return printable(text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))

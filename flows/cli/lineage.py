"""`dpo lineage`: everything that a model version came from, each digest compared."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from flows.cli.command import AsJson, get_ready, prints_result
from flows.cli.console import FAILED, CommandResult

if TYPE_CHECKING:
    from tasks.documents import Lineage

STYLES = {"verified": "green", "recorded": "dim", "damaged": "bold red", "missing": "bold red"}


@prints_result
def lineage(
    name: Annotated[str, typer.Argument(help="registered model")],
    version: Annotated[int, typer.Argument(min=1, help="its version")],
    as_json: AsJson = False,
) -> CommandResult:
    """What a version came from: data, recipe, code, base model, reports, parents. Exit code 1 if a digest is wrong."""
    get_ready()
    from infra.settings import load_settings
    from infra.store import open_store
    from tasks.commands.lineage import trace

    found = trace(open_store(load_settings()), name, version)

    def show(console: Console) -> None:
        console.print(_tree(found), soft_wrap=True)
        traced: Lineage | None = found
        while traced is not None:
            if traced.again:  # outside the tree, which would cut the command into lines
                console.print(Text(f"the weights of models:/{traced.name}/{traced.version} again:"), soft_wrap=True)
                console.print(Text(f"  {traced.again}"), soft_wrap=True)
            traced = traced.parent

    return CommandResult(found.model_dump(mode="json"), show, 0 if found.passes else FAILED)


def _tree(found: "Lineage") -> Tree:
    from flows.cli.config import not_default

    tree = Tree(Text(f"models:/{found.name}/{found.version}  MLflow run {found.mlflow_run_id}", style="bold"))
    for link in found.links:
        mark = Text(f"{link.status:<9}", style=STYLES[link.status])
        tree.add(mark + Text(f"{link.what:<11}{link.sha256[:12]}  {link.says}"))
    recipe = tree.add(Text(f"{'recorded':<9}", style=STYLES["recorded"]) + Text("recipe     what is not its default:"))
    for key, value in not_default(found.recipe):
        recipe.add(Text(f"{key}: {value}"))
    if found.parent:
        tree.add(_tree(found.parent))
    return tree

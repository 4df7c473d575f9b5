"""`dpo import`: an OpenAI job, a TRL, axolotl or LLaMA-Factory config as a recipe, each line accounted for."""

import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.cli.command import AsJson, prints_result
from flows.cli.console import CommandResult, printable, program
from flows.cli.init import free_path, meant_from, quoted, write_recipe

if TYPE_CHECKING:
    from dpo_core.moving.draft import Draft, Line

HEAD = """\
# Written by `dpo import` from {source} ({tool}). Paths are meant from this file's folder; docs/recipe.md has every key.
# Look before you train: dpo check {file}      Train: dpo retrain {file}
"""
STYLES = {"taken": "green", "changed": "yellow", "left out": "dim"}
SOURCES = ("model", "reference", "data.train", "data.eval")


class Tool(StrEnum):
    """Whose config a file is."""

    openai = "openai"
    trl = "trl"
    axolotl = "axolotl"
    llama_factory = "llama-factory"


@prints_result
def import_config(
    file: Annotated[
        str,
        typer.Argument(
            help="an OpenAI fine-tuning job (JSON); a TRL (YAML, JSON, .py), axolotl or LLaMA-Factory config"
        ),
    ],
    recipe: Annotated[str, typer.Option("--output", "-o", metavar="RUN.yaml", help="the recipe to write")] = "run.yaml",
    model: Annotated[str | None, typer.Option("--model", help="start model, instead of the config's")] = None,
    data: Annotated[str | None, typer.Option("--data", help="pairs, instead of the config's")] = None,
    held_out: Annotated[str | None, typer.Option("--eval", help="held-out pairs, instead of the config's")] = None,
    name: Annotated[str | None, typer.Option("--name", help="of the model to be registered")] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="how many it ran on: a batch is of all of them")] = 1,
    tool: Annotated[Tool | None, typer.Option("--from", help="whose config it is; else its keys tell")] = None,
    as_json: AsJson = False,
) -> CommandResult:
    """Turn a job or config of OpenAI, TRL, axolotl or LLaMA-Factory into a recipe. Says what became of each line.

    Nothing of the file is run. An OpenAI job needs --model, and its files beside it (file-abc.jsonl) or --data.
    """
    from dpo_core.moving.read import Given, read_config
    from flows.cli.documents import ImportedLine, ImportedRecipe

    path = Path(recipe)
    if path.parent.is_dir() or path.exists():
        free_path(path, "dpo import FILE -o")
    draft = read_config(file, Given(model, data, held_out, name, tool.value if tool else None, devices))
    draft.check(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_recipe(free_path(path, "dpo import FILE -o"), _text(draft, file, path))
    shown = shlex.quote(os.path.relpath(path))
    document = ImportedRecipe(
        recipe=str(path),
        tool=draft.tool,
        lines=[ImportedLine(**asdict(line)) for line in draft.lines],
        next=[*draft.commands, f"dpo check {shown}", f"dpo retrain {shown}"],
    )

    def show(console: Console) -> None:
        for line in draft.lines:
            console.print(_told(line), soft_wrap=True)
        console.print(
            Text(f"\nwrote {os.path.relpath(path)}, from {draft.tool}'s {file}: {_counts(draft)}"), soft_wrap=True
        )
        for command in document.next:
            console.print(Text(f"  {program('dpo')}{command.removeprefix('dpo')}"), soft_wrap=True)

    return CommandResult(document.to_json(), show)


def _told(line: "Line") -> Text:
    """`job.json:12  beta: 0.2  taken  -> training.beta`, and why where there is more to say."""
    place = f"{line.file}{f':{line.line}' if line.line else ''}  " if line.file else ""
    text = Text(f"{line.outcome:8}  ", style=STYLES[line.outcome])
    text.append(f"{place}{printable(f'{line.key}: {line.value}')}", style="")
    text.append(f"  -> {line.to}" if line.to else "", style="bold")
    return text.append(f"  ({line.says})" if line.says else "", style="dim")


def _counts(draft: "Draft") -> str:
    outcomes = [line.outcome for line in draft.lines]
    return ", ".join(f"{outcomes.count(kind)} {kind}" for kind in STYLES if kind in outcomes)


def _text(draft: "Draft", source: str, path: Path) -> str:
    """The recipe as YAML; beside each value where it comes from, below them what has no counterpart."""
    folder = path.parent
    for key in SOURCES:
        if (named := draft.values.get(key)) is not None:
            draft.values[key] = meant_from(folder, named, of_model=key in ("model", "reference"))
    lines = [HEAD.format(source=_one_line(source), tool=draft.tool, file=shlex.quote(path.name))]
    lines += _yaml(draft.nested(), draft, "", 0)
    if rest := [line for line in draft.lines if line.outcome != "taken"]:
        lines += ["", "# What is other here, or has no counterpart:"]
        lines += [f"# {_one_line(_told(line).plain)}" for line in rest]
    return "\n".join(lines) + "\n"


def _yaml(values: dict[str, object], draft: "Draft", prefix: str, depth: int) -> Iterator[str]:
    for name, value in values.items():
        key, indent = f"{prefix}{name}", "  " * depth
        if isinstance(value, dict) and key not in draft.values:
            yield f"{indent}{name}:"
            yield from _yaml(value, draft, f"{key}.", depth + 1)
            continue
        cell = draft.origins.get(key)
        place = "" if cell is None else f"{cell.file}{f':{cell.line}' if cell.line else ''} {cell.name}".strip()
        yield f"{indent}{name}: {quoted(value)}" + (f"  # {_one_line(place)}" if place else "")


def _one_line(text: str) -> str:
    """For a comment: what a file or a value is called must not end it."""
    return " ".join(printable(text).split())

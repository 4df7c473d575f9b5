"""`dpo init`: a recipe from three questions, or from flags."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.cli.command import AsJson, prints_result
from flows.cli.console import CommandResult, program

RECIPE = """\
# Written by `dpo init`. Paths are meant from this file's folder; docs/recipe.md has every key.
# Look before you train: dpo check {file}      Train: dpo retrain {file}

name: {name}  # the model's name in the registry; each retraining adds a version of it
# Where training starts: a folder, a Hugging Face id, file.gguf, or models:/NAME@champion to go on from the last.
model: {model}

data:
  train: {train}  # prompt, chosen answer, rejected answer
{held_out}
validation:
  # What chosen and rejected answers are meant to differ in: words, /regular expressions/, or features such as length.
  # Any other word, opening or length that gives the chosen answer away stops the run before it costs anything.
  intended: {intended}

training:
  learning_rate: 1.0e-6  # peak; small models take up to 5.0e-5
  beta: 0.1  # how firmly DPO holds on to the start model
  num_train_epochs: 1  # passes over the pairs

gate:
  improve: [rewards/accuracies]  # must be better on held-out pairs, beyond chance
  uptake: 0.65  # a word or form that only the pairs reward must not be preferred for itself: docs/evaluation.md
  min_items: 20  # decided on at least so many held-out prompts
"""
NO_EVAL = "  # eval: held-out.jsonl  # without it a stable tenth of the pairs is held out, by prompt"


@prints_result
def init(
    recipe: Annotated[str, typer.Argument(metavar="[RUN.yaml]", help="the file to write")] = "run.yaml",
    data: Annotated[
        str | None, typer.Option("--data", help="pairs: file, folder, pattern, s3://, dataset:NAME or HF data set")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="start model: folder, HF id, GGUF, models:/...")] = None,
    name: Annotated[str | None, typer.Option("--name", help="of the model to be registered")] = None,
    held_out: Annotated[str | None, typer.Option("--eval", help="held-out pairs")] = None,
    intended: Annotated[
        list[str], typer.Option("--intended", metavar="WORD", help="an aim of the pairs; again: more")
    ] = [],  # noqa: B006  (typer copies it)
    as_json: AsJson = False,
) -> CommandResult:
    """Write a commented recipe for your pairs and model. Asks for what no flag names."""
    from flows.cli.documents import WrittenRecipe

    path = free_path(Path(recipe))
    data = _asked(data, "--data", "Your pairs (file, folder, s3://, dataset:NAME or HF data set)")
    model = _asked(model, "--model", "The start model (folder, HF id, file.gguf or models:/NAME@champion)")
    name = _asked(name, "--name", "A name for the model in the registry")
    write_recipe(path, _text(path, data, model, name, held_out, intended))
    shown = shlex.quote(os.path.relpath(path))
    document = WrittenRecipe(recipe=str(path), next=[f"dpo check {shown}", f"dpo retrain {shown}"])

    def show(console: Console) -> None:
        console.print(Text(f"wrote {os.path.relpath(path)}"))
        for command in document.next:
            console.print(Text(f"  {program('dpo')}{command.removeprefix('dpo')}"), soft_wrap=True)

    return CommandResult(document.to_json(), show)


def _asked(given: str | None, flag: str, question: str) -> str:
    """The flag's value, or the answer of the person at the terminal."""
    from dpo_core.errors import InputError

    if given is not None:
        return given
    if not sys.stdin.isatty():
        do = "name it, for example: dpo init run.yaml --data pairs.jsonl --model ./my-model --name my-model"
        raise InputError(f"{flag} is missing, and there is nobody to ask", where="dpo init", do=do)
    return str(typer.prompt(question, err=True)).strip()


def free_path(path: Path, command: str = "dpo init") -> Path:
    """The path, if a recipe may be written to it: nothing is overwritten."""
    from dpo_core.errors import InputError
    from dpo_core.recipe_file import RECIPES

    if not path.name.endswith(RECIPES):
        do = f"name a file that ends in .yaml: {command} {shlex.quote(f'{path}.yaml')}"
        raise InputError("a recipe is a .yaml file", where=str(path), do=do)
    if path.exists() or path.is_symlink():
        do = "name another file, or move this one away: nothing is overwritten"
        raise InputError("there is such a file already", where=str(path), do=do)
    if not path.parent.is_dir():
        do = f"make it: mkdir -p {shlex.quote(str(path.parent))}"
        raise InputError("there is no such folder", where=str(path.parent), do=do)
    return path


def _text(path: Path, data: str, model: str, name: str, held_out: str | None, intended: list[str]) -> str:
    """The recipe, its paths as they are meant from its own folder."""
    folder = path.parent
    values = {
        "file": shlex.quote(path.name),
        "name": quoted(name),
        "model": quoted(meant_from(folder, model, of_model=True)),
        "train": quoted(meant_from(folder, data)),
        "held_out": f"  eval: {quoted(meant_from(folder, held_out))}  # never trained on\n"
        if held_out
        else f"{NO_EVAL}\n",
        "intended": quoted(intended),
    }
    return RECIPE.format(**values)


def meant_from(folder: Path, named: str, *, of_model: bool = False) -> str:
    """A path that is meant from here as one from `folder`; what is no path here stays as it is."""
    from dpo_core.data.hub import is_hub_name
    from dpo_core.data.sources import is_address

    if is_address(named) or named.startswith(("models:/", "pypi:")) or Path(named).is_absolute() or is_hub_name(named):
        return named
    if of_model and not Path(named).exists():
        return named
    path = os.path.relpath(named, folder)
    return f"./{path}" if of_model and not path.startswith("../") else path


def write_recipe(path: Path, text: str) -> None:
    """The recipe, if it is one: what was answered is checked by the rules of every recipe."""
    from dpo_core.recipe_file import load_recipe

    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    try:
        load_recipe(path)
    except BaseException:
        path.unlink()
        raise


def quoted(value: object) -> str:
    """As YAML in one line; plain where that is the same."""
    import yaml

    text = json.dumps(value, ensure_ascii=False)
    plain = str(value)
    safe = isinstance(value, str) and plain and plain.isascii() and all(c.isalnum() or c in "./_-" for c in plain)
    return plain if safe and not plain.startswith("-") and yaml.safe_load(plain) == plain else text

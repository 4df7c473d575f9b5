"""Which tool a file is of, and the draft of a recipe that comes of it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.data.sources import is_address
from dpo_core.errors import InputError
from dpo_core.moving import axolotl, llama_factory, openai_job, trl
from dpo_core.moving.cells import Cell, Sheet
from dpo_core.moving.draft import Draft
from dpo_core.moving.openai_job import read_json
from dpo_core.moving.script import read_script
from dpo_core.moving.sources import find_model, find_pairs, name_of
from dpo_core.recipe_file import read_text
from dpo_core.recipe_text import read_yaml

TOOLS = {"openai": openai_job.TOOL, "trl": trl.TOOL, "axolotl": axolotl.TOOL, "llama-factory": llama_factory.TOOL}
SIGNS = {  # keys that only one tool has
    "openai": {"method", "training_file", "fine_tuned_model"},
    "axolotl": {"rl", "base_model", "micro_batch_size", "sequence_len"},
    "llama-factory": {"stage", "pref_loss", "pref_beta", "finetuning_type", "cutoff_len"},
    "trl": {"loss_type", "dataset_name", "beta", "per_device_train_batch_size", "model_name_or_path", "max_length"},
}
READERS = {
    "trl": trl.read_trl,
    "axolotl": axolotl.read_axolotl,
    "llama-factory": llama_factory.read_llama_factory,
}
DO = "name an OpenAI job (JSON), a TRL config (YAML, JSON or .py), an axolotl or a LLaMA-Factory config"


@dataclass(frozen=True)
class Given:
    """What the command line says beside the file."""

    model: str | None = None
    data: str | None = None
    held_out: str | None = None
    name: str | None = None
    tool: str | None = None
    devices: int = 1


def read_config(path: str, given: Given) -> Draft:
    """The draft of a recipe from somebody else's config. Raises InputError for what cannot become one."""
    sheet, tool = _sheet(Path(path), given.tool)
    draft = Draft(TOOLS[tool])
    _take_given(draft, given)
    if tool == "openai":
        sheet = openai_job.one_job(sheet)
        openai_job.read_job(sheet, draft, data=given.data, held_out=given.held_out, model=given.model)
    else:
        flags = {"data_given": given.data is not None, "model_given": given.model is not None}
        READERS[tool](sheet, draft, given.devices, **flags)
    _take_given(draft, given)
    _require(draft, sheet, path)
    told = {line.key for line in draft.lines}
    for cell in sheet:
        if cell.name not in told and not any(key.startswith(f"{cell.name}.") for key in told):
            draft.leave(cell, "the keys beside it, or the command line, leave it without effect")
    draft.lines.sort(key=lambda line: (not line.file, line.file, line.line or 0))
    return draft


def _sheet(path: Path, tool: str | None) -> tuple[Sheet, str]:
    if not path.is_file():
        there = "this is no ordinary file" if path.exists() else "there is no such file"
        raise InputError(there, where=str(path), do=DO)
    text = read_text(path, "config", DO)
    if path.suffix == ".py":
        if tool not in (None, "trl"):
            raise InputError(f"a script is no config of {TOOLS[tool]}", where=str(path), do=DO)
        return read_script(text, str(path)), "trl"
    values, lines = _parsed(text, path)
    if not isinstance(values, dict):
        raise InputError("a config is a mapping of keys to values", where=str(path), do=DO)
    return Sheet(str(path), values, lines), tool or _tool_of(values, path)


def _parsed(text: str, path: Path) -> tuple[object, dict[str, int]]:
    """JSON by its own rules, with the lines that YAML, of which it is a part, finds in it."""
    if path.suffix != ".json" and not text.lstrip().startswith("{"):
        return read_yaml(text, str(path), kind=Any)
    try:
        values = read_json(text, str(path))
    except InputError:
        if path.suffix == ".json":
            raise
        return read_yaml(text, str(path), kind=Any)
    try:
        return values, read_yaml(text.replace("\t", " "), str(path), kind=Any)[1]
    except InputError:
        return values, {}


def _tool_of(values: Mapping[str, object], path: Path) -> str:
    """The tool whose keys are there."""
    if values.get("object") == "list" and isinstance(values.get("data"), list):
        return "openai"
    if isinstance(values.get("data"), dict) and "model" in values:
        do = f"train it: dpo retrain {shlex.quote(str(path))}"
        raise InputError("this is a recipe already", where=str(path), do=do)
    found = {tool: len(signs & values.keys()) for tool, signs in SIGNS.items()}
    found["openai"] += isinstance(values.get("method"), dict)
    best = max(found, key=lambda tool: found[tool])
    if not found[best]:
        keys = ", ".join(map(str, list(values)[:5])) or "none"
        says = f"no tool is known by these keys: {keys}"
        raise InputError(says, where=str(path), do=f"{DO}; --from TOOL says which it is")
    return best


def _take_given(draft: Draft, given: Given) -> None:
    """What the command line names goes before what the file says."""
    for option, key, value in (
        ("--model", "model", given.model),
        ("--data", "data.train", given.data),
        ("--eval", "data.eval", given.held_out),
        ("--name", "name", given.name),
    ):
        if value is not None:
            cell = Cell("command line", None, option, value)
            find = find_model if option == "--model" else find_pairs
            draft.values[key] = value if option == "--name" or is_address(value) else find(value, cell)
            draft.origins[key] = cell


def _require(draft: Draft, sheet: Sheet, path: str) -> None:
    """A recipe has a model, pairs and a name."""
    for key, option, what in (
        ("model", "--model", "no start model, as a literal" if path.endswith(".py") else "no start model"),
        ("data.train", "--data", "no pairs, as a literal" if path.endswith(".py") else "no pairs"),
    ):
        if key not in draft.values:
            do = (
                f"name them: {option} ..."
                if key != "model"
                else "name it: --model FOLDER, a Hugging Face id or file.gguf"
            )
            raise InputError(f"the config names {what}", where=sheet.file, do=do)
    if "name" not in draft.values:
        draft.values["name"] = name_of(Path(path).stem)
        draft.origins["name"] = Cell(sheet.file, None, "name", draft.values["name"])

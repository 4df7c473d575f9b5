"""The rules of a gate from a YAML file of their own: a recipe's `gate:` section, with or without the rest of it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dpo_core.errors import InputError
from dpo_core.recipe_file import explain, read_text
from dpo_core.recipe_release import Gate
from dpo_core.recipe_text import read_yaml

DO = "name a YAML file with the section `gate:` of a recipe, for example: improve: [METRIC]"


class _Rules(BaseModel):
    model_config = ConfigDict(strict=True)
    gate: Gate


def load_rules(path: str | Path) -> Gate:
    """The rules of `path`, without any default condition: what is not in it is not asked.

    Raises InputError with file, line and remedy for anything that is no such section.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file of rules", where=str(path), do=DO)
    text = read_text(path, "file of rules", DO)
    whole, lines = read_yaml(text, str(path))
    if not isinstance(whole, dict):
        raise InputError("the rules are a mapping of keys to values", where=str(path), do=DO)
    if "gate" not in whole:
        section, lines = read_yaml(text, str(path), "gate")
    elif twice := sorted(whole.keys() & Gate.model_fields.keys()):
        says = f"{twice[0]!r} stands beside `gate:`, which holds the rules already"
        raise InputError(says, where=f"{path}:{lines[twice[0]]}", do="move it into `gate:`, or take that out")
    else:
        section = whole["gate"]
    if isinstance(section, dict):
        section = {"improve": [], **section}
    try:
        return _Rules.model_validate({"gate": section}).gate
    except ValidationError as error:
        raise explain(error, {key: f"{path}:{line}" for key, line in lines.items()}, str(path)) from None

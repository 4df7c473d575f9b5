"""A recipe that is being made of somebody else's config, and what became of each of its lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dpo_core.moving.cells import Cell, NoLiteral
from dpo_core.recipe import Recipe
from dpo_core.recipe_file import checked_recipe
from dpo_core.recipe_loss import FOR_ALL, OPTIONS

Outcome = Literal["taken", "changed", "left out"]
SECRET = re.compile(r"(?<!pad_)token$|_key$|secret|password|webhook", re.IGNORECASE)
WIDEST = 60  # characters of a value that is shown


@dataclass(frozen=True)
class Line:
    """What became of one key of the config."""

    file: str
    line: int | None
    key: str
    value: str
    outcome: Outcome
    to: str | None  # the recipe's key
    says: str


@dataclass
class Draft:
    """Values of a recipe by dotted key, the cell that each came from, and the account of all cells."""

    tool: str
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Cell] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # to be run before the recipe is

    def take(self, cell: Cell, key: str, value: object, says: str = "", *, changed: bool = False) -> None:
        """The cell sets `key` of the recipe."""
        self.values[key] = value
        self.origins[key] = cell
        self._note(cell, "changed" if changed else "taken", key, says)

    def same(self, cell: Cell, says: str) -> None:
        """The cell asks for what is done here always."""
        self._note(cell, "taken", None, says)

    def change(self, cell: Cell, says: str) -> None:
        """The cell asks for something that is done here in another way."""
        self._note(cell, "changed", None, says)

    def leave(self, cell: Cell, says: str) -> None:
        """The cell has no counterpart."""
        self._note(cell, "left out", None, says)

    def imply(self, name: str, key: str, value: object, by: str = "") -> None:
        """A default of the tool (or of `by`) that is another than the recipe's: it stands in no line of the file."""
        cell = Cell("", None, name, value)
        self.take(cell, key, value, f"not in the file: {by or self.tool}'s default")

    def option(self, cell: Cell, name: str, value: object) -> None:
        """An option of the loss, which is set already; one that the loss does not have is left out."""
        losses = self.losses
        acts = [name in OPTIONS.get(loss, ()) for loss in losses]
        if all(acts) or (any(acts) and name not in FOR_ALL):  # as the recipe asks
            self.take(cell, f"training.{name}", value)
        else:
            self.leave(cell, f"it has no effect with the loss {' + '.join(losses)}")

    @property
    def losses(self) -> list[str]:
        """The losses that are minimised."""
        loss = self.values.get("training.loss", "sigmoid")
        return list(loss) if isinstance(loss, dict) else [loss]

    def nested(self) -> dict[str, object]:
        """The values as they stand in a recipe, its sections in their order."""
        sections: dict[str, Any] = {}
        order = list(Recipe.model_fields)
        for dotted, value in sorted(self.values.items(), key=lambda item: order.index(item[0].split(".")[0])):
            *parents, last = dotted.split(".")
            target = sections
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
        return sections

    def check(self, where: str) -> Recipe:
        """The recipe of these values; InputError with the place in the config for one that is out of its range."""
        places: Mapping[str, str] = {
            key: cell.place.rpartition(", key ")[0] if cell.line else cell.place for key, cell in self.origins.items()
        }
        return checked_recipe(self.nested(), dict(places), where)

    def _note(self, cell: Cell, outcome: Outcome, to: str | None, says: str) -> None:
        self.lines.append(Line(cell.file, cell.line, cell.name, shown(cell), outcome, to, says))


def shown(cell: Cell) -> str:
    """A cell's value in one short line; a secret as stars, and of a section its keys alone."""
    if SECRET.search(cell.name) and isinstance(cell.value, str):
        return "***"
    if isinstance(cell.value, dict):
        text = f"{{{', '.join(map(str, cell.value))}}}"
    elif isinstance(cell.value, list) and any(isinstance(part, dict | list) for part in cell.value):
        text = f"[{len(cell.value)} sections]"
    else:
        text = cell.value.text if isinstance(cell.value, NoLiteral) else str(cell.value)
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."

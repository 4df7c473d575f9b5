"""What becomes of a config's keys by their names alone: taken as they are, the same here always, or no counterpart."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dpo_core.moving.cells import Cell, NoLiteral, Sheet
from dpo_core.moving.draft import Draft

Special = Callable[[Draft, Cell], None]
Value = TypeVar("Value")


@dataclass(frozen=True)
class KeyTable:
    """The keys of a tool. `special` ones are looked at by the tool's own code."""

    taken: Mapping[str, tuple[str, Callable[[Cell], object]]] = field(default_factory=dict)  # key: recipe's key, reader
    fixed: Mapping[str, tuple[tuple[object, ...], str]] = field(default_factory=dict)  # key: values as here, what is
    left: Mapping[str, str] = field(default_factory=dict)  # key: why
    special: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        """Every key of the tool."""
        return frozenset({*self.taken, *self.fixed, *self.left, *self.special})

    def __or__(self, other: "KeyTable") -> "KeyTable":
        """Both; where both have a key, the other's say."""
        mine = self.without(other.known)
        return KeyTable(
            {**mine.taken, **other.taken},
            {**mine.fixed, **other.fixed},
            {**mine.left, **other.left},
            mine.special | other.special,
        )

    def without(self, names: Iterable[str]) -> "KeyTable":
        """The table without some keys."""
        gone = frozenset(names)

        def rest(table: Mapping[str, Value]) -> dict[str, Value]:
            return {name: value for name, value in table.items() if name not in gone}

        return KeyTable(rest(self.taken), rest(self.fixed), rest(self.left), self.special - gone)


def names(text: str) -> frozenset[str]:
    """Keys with spaces between."""
    return frozenset(text.split())


def reasons(table: Mapping[str, str]) -> dict[str, str]:
    """`reason: keys with spaces between` as key: reason."""
    return {name: reason for reason, keys in table.items() for name in keys.split()}


def sort_out(sheet: Sheet, table: KeyTable, draft: Draft) -> list[Cell]:
    """Every key of the sheet finds its place in the draft, but the special ones, which are returned."""
    special = []
    for cell in sheet:
        name = cell.name.removeprefix(sheet.prefix)
        if isinstance(cell.value, NoLiteral):
            draft.leave(cell, "its value is computed when the script runs; set it by hand")
        elif name in table.taken:
            key, reader = table.taken[name]
            draft.take(cell, key, reader(cell))
        elif name in table.fixed:
            values, here = table.fixed[name]
            (draft.same if _is_one_of(cell.value, values) else draft.change)(cell, here)
        elif name in table.left:
            draft.leave(cell, table.left[name])
        elif name in table.special:
            special.append(cell)
        else:
            draft.leave(cell, f"{draft.tool} has no such key, as far as is known here")
    return special


def _is_one_of(value: object, values: tuple[object, ...]) -> bool:
    def plain(one: Any) -> object:
        try:
            return float(one)
        except (TypeError, ValueError, OverflowError):
            return str(one).lower()

    return plain(value) in [plain(one) for one in values]

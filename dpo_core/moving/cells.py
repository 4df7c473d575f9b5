"""A value of somebody else's config, and where it stands; numbers and switches as people write them there."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dpo_core.errors import InputError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class NoLiteral:
    """What a script computes when it runs: its text is known, its value is not."""

    text: str


@dataclass(frozen=True)
class Cell:
    """One key of a file with its value; `line` is None where the file's format or a default has none."""

    file: str
    line: int | None
    name: str
    value: Any

    @property
    def place(self) -> str:
        """File, line and key, for an error's second line."""
        return f"{self.file}{f':{self.line}' if self.line else ''}, key {self.name}"

    def refused(self, says: str, do: str) -> InputError:
        """An error of this cell."""
        return InputError(says, where=self.place, do=do)

    def number(self) -> float:
        """The value as a number: also `5e-5`, which YAML takes for a text."""
        try:
            return float(self.value) if not isinstance(self.value, bool) else float("nan")
        except (TypeError, ValueError, OverflowError):
            raise self.refused(
                f"{self.name} is {self.value!r:.80}, not a number", "write a number: 0.1, or 5e-6"
            ) from None

    def whole(self) -> int:
        """The value as a whole number."""
        number = self.number()
        if not math.isfinite(number) or number != int(number):
            raise self.refused(f"{self.name} is {self.value!r}, not a whole number", "write a whole number: 8")
        return int(number)

    def flag(self) -> bool:
        """The value as a switch."""
        text = str(self.value).lower()
        if text not in (*TRUE, *FALSE):
            raise self.refused(f"{self.name} is {self.value!r}, not a switch", "write true or false")
        return text in TRUE

    def text(self) -> str:
        """The value as text."""
        if isinstance(self.value, list | dict):
            raise self.refused(f"{self.name} is a list or a section, not a text", "write one name or path")
        return str(self.value)

    def texts(self) -> list[str]:
        """The value as a list of texts; a text is one, or several with commas between."""
        parts = self.value if isinstance(self.value, list) else str(self.value).strip("[] ").split(",")
        return [str(part).strip().strip("'\"") for part in parts if str(part).strip()]


@dataclass(frozen=True)
class Sheet:
    """The keys of a file, or of a section of it."""

    file: str
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)  # of dotted keys, from the top of the file
    prefix: str = ""
    plain: bool = False  # a script's TrainingArguments, of the time before TRL had a DPOConfig

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def cell(self, name: str) -> Cell:
        """A key, set or not."""
        dotted = self.prefix + name
        return Cell(self.file, self.lines.get(dotted), dotted, self.values.get(name))

    def __iter__(self) -> Iterator[Cell]:
        """The keys that hold something, in the order of the file."""
        return (self.cell(name) for name, value in self.values.items() if value is not None)

    def section(self, name: str) -> "Sheet":
        """What is below a key; empty where there is nothing."""
        below = self.values.get(name)
        return Sheet(self.file, below if isinstance(below, dict) else {}, self.lines, f"{self.prefix}{name}.")

    def items(self, name: str) -> list["Sheet"]:
        """The sections of a list of them."""
        found = self.values.get(name)
        sections = found if isinstance(found, list) else [] if found is None else [found]
        if not all(isinstance(section, dict) for section in sections):
            raise self.cell(name).refused(f"{name} is not a list of sections", "write `- path: ...` lines below it")
        return [
            Sheet(self.file, section, self.lines, f"{self.prefix}{name}.{number}.")
            for number, section in enumerate(sections)
        ]

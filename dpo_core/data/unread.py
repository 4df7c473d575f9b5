"""Columns, and keys of messages, that no part of the pipeline reads: counted, so that none is left out in silence."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from dpo_core.data.columns import MASKS
from dpo_core.data.messages import KEYS, kind_of

MOST = 100  # names that are kept; rows may have as many as they like
LONGEST = 60  # characters of a name
PROSE = 3  # words from which on a text is more than a name or a date
READ_KEYS = KEYS.union(MASKS, ("from", "value"))
SPOKEN = ("prompt", "chosen", "rejected", "messages", "conversations", "chosen_messages", "rejected_messages")


@dataclass
class Unread:
    """One column: rows that have it, what it holds, and whether it is text that differs between rows, or prose."""

    rows: int = 0
    kind: str = ""
    first: int | None = None  # hash of the first text
    differs: bool = False
    prose: bool = False

    def see(self, value: object, rows: int = 1) -> None:
        """Count a value."""
        self.rows += rows
        self.kind = self.kind or kind_of(value)
        if isinstance(value, str):
            mark = hash(value)
            self.differs |= self.first is not None and mark != self.first
            self.first = mark if self.first is None else self.first
            self.prose |= is_prose(value)

    def add(self, other: "Unread") -> None:
        """Take in what later rows showed."""
        both = self.first is not None and other.first is not None
        self.differs |= other.differs or (both and self.first != other.first)
        self.rows, self.kind = self.rows + other.rows, self.kind or other.kind
        self.first = other.first if self.first is None else self.first
        self.prose |= other.prose

    @property
    def says_something(self) -> bool:
        """Prose that differs between rows: it may belong to what is learnt."""
        return self.differs and self.prose


@dataclass
class UnreadColumns:
    """All that was seen of them. `others`: rows with a column beyond the first MOST names."""

    columns: dict[str, Unread] = field(default_factory=dict)
    others: int = 0

    def see(self, row: Mapping[str, object], read: frozenset[str]) -> None:
        """Count a row's; `read` are the columns that its shape reads."""
        beyond = False
        for name, value in (*_columns(row, read), *_keys(row)):
            column = self._named(name)
            if column is None:
                beyond = True
            else:
                column.see(value)
        self.others += beyond

    def add(self, other: "UnreadColumns") -> None:
        """Take in what later rows showed."""
        self.others += other.others
        for name, column in other.columns.items():
            mine = self._named(name)
            if mine is None:
                self.others += column.rows
            else:
                mine.add(column)

    def of(self, rows: int) -> "UnreadColumns":
        """The same columns as of so many rows."""
        return UnreadColumns({name: replace(column, rows=rows) for name, column in self.columns.items()}, self.others)

    def counts(self) -> dict[str, int]:
        """Rows that have each, by name."""
        found = {name: column.rows for name, column in self.columns.items()}
        return found | ({"(other names)": self.others} if self.others else {})

    def _named(self, name: str) -> Unread | None:
        name = name if len(name) <= LONGEST else name[:LONGEST] + "..."
        if name not in self.columns and len(self.columns) >= MOST:
            return None
        return self.columns.setdefault(name, Unread())


def is_prose(text: str) -> bool:
    """Whether a text is more than a name, a number, a date or an address; scripts without spaces count letters."""
    words = text.split(None, PROSE)
    return len(words) >= PROSE or (not text.isascii() and len(text) >= 2 * PROSE and not words[1:])


def _columns(row: Mapping[str, object], read: frozenset[str]) -> Iterator[tuple[str, object]]:
    return ((str(name), value) for name, value in row.items() if name not in read and value is not None)


def _keys(row: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Keys of messages, once a row: `chosen[].audio`."""
    found: dict[str, object] = {}
    for column in SPOKEN:
        value = row.get(column)
        for item in [value] if isinstance(value, Mapping) else value if isinstance(value, list) else []:
            if isinstance(item, Mapping) and ("role" in item or "from" in item):
                for key, inside in item.items():
                    if key not in READ_KEYS and inside is not None:
                        found.setdefault(f"{column}[].{key}", inside)
    return iter(found.items())

"""A finding's table as the page shows it: drawn where its header says how, the numbers beside or below."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from dpo_core.report.charts import changes, intervals, parts, sides
from dpo_core.report.numbers import share_or_number
from dpo_core.report.results import Table

SHOWN = 60  # rows of a table; the JSON document has them all
DRAWN = 24  # rows of a chart
PAIRS = (
    (("chosen", "rejected"), sides),
    (("only in chosen", "only in rejected"), sides),
    (("before", "after"), changes),
    (("wins before", "wins after"), changes),
    (("last accepted", "now"), changes),
    (("planted", "found"), parts),
)
CHANCE = ("accuracy", "purity", "wins")  # shares that are a half where nothing is going on


class ShownTable(NamedTuple):
    """A table ready for the template."""

    title: str
    header: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int
    chart: Markup


def shown(table: Table) -> ShownTable:
    """Cells in words, and the chart that the header asks for (empty where there is none)."""
    rows = table.rows[:SHOWN]
    numeric = tuple(bool(rows) and all(_number(row[i]) for row in rows) for i in range(len(table.header)))
    cells = tuple(tuple(_cell(value, name) for value, name in zip(row, table.header, strict=True)) for row in rows)
    chart = _chart(table) if len(table.rows) > 1 or "low" in table.header else Markup("")
    return ShownTable(table.title, table.header, numeric, cells, len(table.rows) - len(rows), chart)


def _cell(value: object, name: str) -> str:
    return "-" if isinstance(value, float) and not math.isfinite(value) else share_or_number(value, name)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _chart(table: Table) -> Markup:
    header = [name.lower() for name in table.header]
    if {"low", "high"} <= set(header) and header.index("low") > 1:
        return _intervals(table, header)
    for pair, draw in PAIRS:
        if set(pair) <= set(header):
            at = [len(header) - 1 - header[::-1].index(name) for name in pair]  # the last column of that name
            drawn = [
                (
                    label,
                    a,
                    b,
                    " · ".join(share_or_number(value, name) for value, name in zip((a, b), pair, strict=True)),
                )
                for label, (a, b) in _drawable(table, at)
            ]
            return draw(drawn, table.title) if drawn else Markup("")
    return Markup("")


def _intervals(table: Table, header: list[str]) -> Markup:
    low, high = header.index("low"), header.index("high")
    name = header[low - 1]
    drawn = [
        (label, value, least, most, share_or_number(value, name))
        for label, (value, least, most) in _drawable(table, [low - 1, low, high])
    ]
    if not drawn:
        return Markup("")
    chance = any(word in name for word in CHANCE)
    values = [number for row in drawn for number in row[1:4]]
    reference = 0.5 if chance else 0.0 if min(values) < 0 < max(values) else None
    ends = (min(*values, 0.5), max(*values, 0.5)) if chance else (min(values), max(values))
    return intervals(drawn, ends[0], ends[1], reference, table.title)


def _drawable(table: Table, at: Sequence[int]) -> list[tuple[str, list[float]]]:
    """The first rows whose numbers in columns `at` are finite: a label (the texts before them), and the numbers."""
    found = []
    for row in table.rows:
        numbers = [value for i in at if isinstance(value := row[i], (int, float)) and math.isfinite(value)]
        if len(numbers) == len(at):
            texts = [value for value in row[: min(at)] if isinstance(value, str)]
            found.append((" · ".join(texts) or str(row[0]), numbers))
    return found[:DRAWN]

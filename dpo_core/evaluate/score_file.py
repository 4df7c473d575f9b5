"""Scores of a challenger and a baseline from a file of JSON lines, an item a line, for a gate outside of a run."""

import difflib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpo_core.errors import InputError
from dpo_core.evaluate.scores import UPTAKE, Scores
from dpo_core.recipe_release import Gate

SIDES = ("challenger", "baseline", "anchor")
KEYS = ("case", "metric", "item", "cluster", *SIDES)
SHAPE = '{"metric": "behaviour/x", "item": "id", "cluster": "id", "challenger": 1.0, "baseline": 0.0}'
LINE = f"a line is {SHAPE}, and may have `anchor` and `case`"


@dataclass
class Case:
    """One gate's items: scores by metric of each side; no anchor where no line has one."""

    challenger: dict[str, Scores]
    baseline: dict[str, Scores]
    anchor: dict[str, Scores] | None


@dataclass
class _Column:
    """One metric of one case while it is read."""

    lines: dict[str, int] = field(default_factory=dict)  # by item
    clusters: list[str] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})


def read_scores(path: str | Path, rules: Gate) -> dict[str | None, Case]:
    """The cases of a file by name, or one without a name. Raises InputError with file, line and remedy."""
    path = Path(path)
    asked = list(dict.fromkeys([*rules.gains, *rules.keep, *rules.floor]))
    found: dict[str | None, dict[str, _Column]] = {}
    for number, row in _rows(path):
        where = f"{path}:{number}"
        name = _name(row, "case", where) if "case" in row else None
        if found and (None in found) != (name is None):
            says = "some lines have a `case` and others have none"
            raise InputError(says, where=where, do="name the case in every line, or in none")
        columns = found.setdefault(name, {})
        _take(row, columns.setdefault(_name(row, "metric", where), _Column()), where)
    if not found:
        raise InputError("there are no scores in the file", where=str(path), do=f"write an item a line: {LINE}")
    return {name: _case(columns, asked, rules, path, name) for name, columns in found.items()}


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    if not path.is_file():
        raise InputError("there is no such file of scores", where=str(path), do="check the path")
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _row(line, f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason}", where=str(path), do="save it as UTF-8") from None
    except OSError as error:
        says = f"the scores cannot be read: {error.strerror}"
        raise InputError(says, where=str(path), do="check its permissions") from None


def _row(line: str, where: str) -> Mapping[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a line of JSON: {error}", where=where, do=LINE) from None
    if not isinstance(row, dict):
        raise InputError("a line of scores is a JSON object", where=where, do=LINE)
    for key in row.keys() - set(KEYS):
        if near := difflib.get_close_matches(key, KEYS, n=1):
            do = f"did you mean {near[0]!r}? (keys that resemble none of a line's are passed over)"
            raise InputError(f"unknown key {key!r}", where=where, do=do)
    return row


def _take(row: Mapping[str, object], column: _Column, where: str) -> None:
    """One item into its metric's column."""
    metric, item = row["metric"], _name(row, "item", where)
    if item in column.lines:
        raise InputError(
            f"item {item!r} of {metric} stands twice: in line {column.lines[item]} and here",
            where=where,
            do="give each answer an `item` of its own; answers to one prompt share its `cluster`",
        )
    anchored = row.get("anchor") is not None
    if column.lines and anchored != bool(column.values["anchor"]):
        says = f"{metric} has an `anchor` on some items and none on others"
        raise InputError(says, where=where, do="score every item of the metric with the anchor, or none")
    for side in SIDES if anchored else SIDES[:2]:
        column.values[side].append(_value(row, side, item, where))
    column.lines[item] = int(where.rpartition(":")[2])
    column.clusters.append(item if row.get("cluster") is None else _name(row, "cluster", where))


def _name(row: Mapping[str, object], key: str, where: str) -> str:
    name = row.get(key)
    if isinstance(name, str | int) and not isinstance(name, bool) and name != "":
        return str(name)
    says = f"the line has no {key!r}" if name is None or name == "" else f"{key!r} is {name!r}, which is no name"
    raise InputError(says, where=f"{where}, field {key}", do=LINE)


def _value(row: Mapping[str, object], side: str, item: str, where: str) -> float:
    value, place = row.get(side), f"{where}, field {side}"
    if value is None:
        raise InputError(
            f"item {item!r} of {row['metric']} has no score of the {side}: only items scored for both are compared",
            where=place,
            do="score it with both models, or leave its line out",
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        do = "write a number: 1.0 where the answer is right, 0.0 where it is wrong"
        raise InputError(f"the score is {value!r}, which is no number", where=place, do=do)
    if not -sys.float_info.max <= value <= sys.float_info.max:  # a whole number may be larger than any float
        do = "find out why that model gave no number; an answer that cannot be scored is wrong: 0.0"
        raise InputError(
            f"the score is {value:.6g}, which is no finite number"
            if isinstance(value, float)
            else "the score is too large",
            where=place,
            do=do,
        )
    return float(value)


def _case(columns: Mapping[str, _Column], asked: list[str], rules: Gate, path: Path, name: str | None) -> Case:
    where = str(path) if name is None else f"{path}, case {name}"
    if missing := next((metric for metric in asked if metric not in columns), None):
        there = ", ".join(sorted(columns))
        do = f"score it, or take it out of the rules; metrics here: {there}"
        raise InputError(f"the rules ask for {missing}, of which there is no item", where=where, do=do)
    shortcuts = [metric for metric in columns if rules.uptake is not None and metric.startswith(UPTAKE)]
    taken = {metric: columns[metric] for metric in (*asked, *shortcuts)}
    sides = {
        side: {m: Scores(column.values[side], column.clusters) for m, column in taken.items() if column.values[side]}
        for side in SIDES
    }
    kept = [metric for metric in rules.keep if metric not in sides["anchor"]]
    if kept and (sides["anchor"] or rules.anchor is not None):
        do = "write the anchor's scores of kept metrics too, or leave the anchor out of scores and rules"
        raise InputError(f"{kept[0]} is to be kept against an anchor, and has no score of it", where=where, do=do)
    return Case(sides["challenger"], sides["baseline"], sides["anchor"] or None)

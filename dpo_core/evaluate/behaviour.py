"""Prompt files that say what an answer must be and must not be, for behaviour and retention; and neutral text."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError, model_validator

from dpo_core.data.messages import messages_of, say
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.rewards.demands import NONE, Demands, demands_of, holds, require_usable
from dpo_core.rewards.wishes import Wishes


@dataclass(frozen=True)
class BehaviourCheck:
    """One prompt and what its answer must be.

    Every entry of `must_contain` (any of its alternatives) and none of `must_not_contain`; entries are words or
    phrases, matched whole and in any case; in scripts without spaces, as they stand (`stands_in`). And all `demands`.
    """

    prompt: tuple[Message, ...]
    must_contain: tuple[tuple[str, ...], ...] = ()
    must_not_contain: tuple[str, ...] = ()
    source: str = ""
    demands: Demands = NONE
    where: str = ""  # file and line

    def passes(self, answer: str) -> bool:
        """Whether `answer` is what it must be. Raises InputError where that takes too long to tell."""
        if not holds(answer, self.must_contain, self.must_not_contain):
            return False
        try:
            return self.demands.met(answer)
        except InputError as error:
            raise InputError(error.says, where=self.where or error.where, do=error.do) from None


class CheckLine(Wishes):
    """One line of a prompt file, as it is written."""

    prompt: object
    source: str = ""
    id: str | int | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> "CheckLine":
        if not self.set_keys:
            raise ValueError(f"it asks nothing of the answer: give it one of {', '.join(sorted(ASKING))}")
        return self


ASKING = Wishes.model_fields.keys() - {"tolerance"}


def read_checks(path: str | Path) -> list[BehaviourCheck]:
    """Checks from a JSONL file; InputError with file and line where one is not right."""
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "there is no such prompt file", where=str(path), do="check evaluation.behaviour and evaluation.retention"
        )
    lines = _text_of(path, "utf-8-sig").split("\n")
    checks, ids = [], set[str]()
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}:{number}"
            row = _read_line(line, where)
            if row.id is not None and str(row.id) in ids:
                raise InputError(f"the id {row.id} stands twice", where=where, do="give each question an id of its own")
            if row.id is not None:
                ids.add(str(row.id))
            checks.append(_check_of(row, where))
    if not checks:
        raise InputError(
            "the prompt file is empty", where=str(path), do="add at least one line, or take it out of the recipe"
        )
    return checks


def read_paragraphs(path: str | Path) -> list[str]:
    """Paragraphs of a text file; InputError with file and line where it is not UTF-8."""
    return [text.strip() for text in _text_of(Path(path), "utf-8").split("\n\n") if text.strip()]


def _text_of(path: Path, encoding: str) -> str:
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"not UTF-8 text: {error.reason}", where=f"{path}:{line}", do="save it as UTF-8") from None


def _read_line(line: str, where: str) -> CheckLine:
    shape = 'a line is {"prompt": "..." or messages, "must_contain": [...], "must_not_contain": [...]}'
    try:
        return CheckLine.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"][:1])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, CheckLine.model_fields, n=1)
            do = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(CheckLine.model_fields)}"
            raise InputError(f"unknown key {key!r}", where=where, do=do) from None
        says = first["msg"].removeprefix("Value error, ")
        raise InputError(f"not a check: {': '.join(filter(None, [key, says]))}", where=where, do=shape) from None


def _check_of(row: CheckLine, where: str) -> BehaviourCheck:
    do = 'the prompt is text or a list of {"role": "...", "content": "..."}'
    try:
        prompt = say("user", row.prompt) if isinstance(row.prompt, str) else messages_of(row.prompt, "prompt")
    except ValueError as error:
        raise InputError(f"not a check: {error}", where=where, do=do) from None
    demands = demands_of(row)
    try:
        require_usable(demands)
    except ValueError as error:
        raise InputError(f"not a check: {error}", where=where, do="docs/recipe.md has every key") from None
    return BehaviourCheck(tuple(prompt), row.any_of, row.none_of, row.source, demands, where)

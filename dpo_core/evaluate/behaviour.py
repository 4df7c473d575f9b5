"""Prompt files that say what an answer must and must not contain; used for behaviour and for retention."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.data.messages import messages_of, say
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.quality.words import stands_in

ENTRIES = ("must_contain", "must_not_contain")


@dataclass(frozen=True)
class BehaviourCheck:
    """One prompt and what its answer must hold.

    Every entry of `must_contain` (any of its alternatives) and none of `must_not_contain`; entries are words or
    phrases, matched whole and in any case; in scripts without spaces, as they stand (`stands_in`).
    """

    prompt: tuple[Message, ...]
    must_contain: tuple[tuple[str, ...], ...] = ()
    must_not_contain: tuple[str, ...] = ()
    source: str = ""

    def passes(self, answer: str) -> bool:
        """Whether `answer` holds what it must and nothing that it must not."""
        found = all(any(stands_in(answer, word) for word in any_of) for any_of in self.must_contain)
        return found and not any(stands_in(answer, word) for word in self.must_not_contain)


def read_checks(path: str | Path) -> list[BehaviourCheck]:
    """Checks from a JSONL file; InputError with file and line where one is not right."""
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "there is no such prompt file", where=str(path), do="check evaluation.behaviour and evaluation.retention"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason}", where=str(path), do="save it as UTF-8") from None
    checks = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            checks.append(_read_check(line, f"{path}:{number}"))
    if not checks:
        raise InputError(
            "the prompt file is empty", where=str(path), do="add at least one line, or take it out of the recipe"
        )
    return checks


def _read_check(line: str, where: str) -> BehaviourCheck:
    shape = 'a line is {"prompt": "..." or messages, "must_contain": [...], "must_not_contain": [...]}'
    try:
        row: dict[str, Any] = json.loads(line)
        prompt = row["prompt"]
        messages = say("user", prompt) if isinstance(prompt, str) else messages_of(prompt, "prompt")
        odd = next((name for name in row if name.startswith("must") and name not in ENTRIES), None)
        if odd is not None:
            raise InputError(f"unknown key {odd!r}", where=where, do=f"the keys are {' and '.join(ENTRIES)}")
        must, must_not = (_listed(row.get(name)) for name in ENTRIES)
        any_of = tuple((entry,) if isinstance(entry, str) else tuple(entry) for entry in must)
        words = [*(word for entry in any_of for word in entry), *must_not]
        if not words or not all(isinstance(word, str) and word.strip() for word in words) or () in any_of:
            raise InputError(
                "a check needs at least one word in must_contain or must_not_contain", where=where, do=shape
            )
        return BehaviourCheck(tuple(messages), any_of, tuple(must_not), row.get("source", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"not a check: {type(error).__name__} {error}", where=where, do=shape) from None


def _listed(value: Any) -> list[Any]:
    """Text is one entry, not as many as it has letters."""
    return [value] if isinstance(value, str) else list(value or [])

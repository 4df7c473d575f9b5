"""Prompt files that say what an answer must and must not contain; used for behaviour and for retention."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError


@dataclass(frozen=True)
class BehaviourCheck:
    """One prompt and what its answer must hold.

    Every entry of `must_contain` (any of its alternatives) and none of `must_not_contain`; entries are words or
    phrases, matched whole and in any case.
    """

    prompt: tuple[Message, ...]
    must_contain: tuple[tuple[str, ...], ...] = ()
    must_not_contain: tuple[str, ...] = ()
    source: str = ""

    def passes(self, answer: str) -> bool:
        """Whether `answer` holds what it must and nothing that it must not."""
        found = all(any(_holds(answer, word) for word in any_of) for any_of in self.must_contain)
        return found and not any(_holds(answer, word) for word in self.must_not_contain)


def read_checks(path: str | Path) -> list[BehaviourCheck]:
    """Checks from a JSONL file; InputError with file and line where one is not right."""
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "there is no such prompt file", where=str(path), do="check evaluation.behaviour and evaluation.retention"
        )
    checks = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
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
        messages: Sequence[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        must = tuple((entry,) if isinstance(entry, str) else tuple(entry) for entry in row.get("must_contain", []))
        must_not = tuple(row.get("must_not_contain", []))
        words = [*(word for entry in must for word in entry), *must_not]
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise InputError(
                "a check needs at least one word in must_contain or must_not_contain", where=where, do=shape
            )
        return BehaviourCheck(
            tuple({"role": m["role"], "content": m["content"]} for m in messages), must, must_not, row.get("source", "")
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"not a check: {type(error).__name__} {error}", where=where, do=shape) from None


def _holds(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, flags=re.IGNORECASE) is not None

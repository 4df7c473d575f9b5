"""Files of prompts that measure a model elsewhere, and so must not be trained on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.quality.prompts.index import PromptIndex, index_prompts

DO = 'write one {"prompt": ...} a line, or plain text with one prompt a line'


def index_benchmarks(files: Mapping[str, str]) -> list[PromptIndex]:
    """The prompts of `validation.benchmarks`, an index each. Raises InputError."""
    return [index_prompts(f"benchmark_{name}", read_prompts(path), turns=True) for name, path in files.items()]


def read_prompts(path: str) -> list[tuple[Message, ...]]:
    """Prompts of a file: JSON lines with `prompt` (text or messages), or one prompt a line. Raises InputError."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the prompts cannot be read: {type(error).__name__}", where=path, do=DO) from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError("the file has no prompts", where=path, do=DO)
    if not lines[0][1].lstrip().startswith("{"):
        return [_user(line.strip()) for _, line in lines]
    return [_prompt_of(line, f"{path}:{number}") for number, line in lines]


def _prompt_of(line: str, where: str) -> tuple[Message, ...]:
    try:
        prompt: Any = json.loads(line)["prompt"]
        messages: tuple[Any, ...] = _user(prompt) if isinstance(prompt, str) else tuple(prompt)
        if any(message["role"] == "user" and message["content"].strip() for message in messages):
            return messages
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise InputError("this line has no prompt", where=where, do=DO)


def _user(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)

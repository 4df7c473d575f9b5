"""What a task of lm-eval asks, and its content: what names its scores, wherever its files lie."""

import dataclasses
import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.data.digests import digest_file, digest_lines

if TYPE_CHECKING:
    from lm_eval.api.task import Task


def prompts_of(task: "Task", documents: Sequence[object]) -> list[str]:
    """What each document asks; with its choices where several ask in the same words, or in none."""
    asked = [task.doc_to_text(document) for document in documents]
    often = Counter(asked)
    return [
        text if isinstance(text, str) and often[text] == 1 else "\n".join([*_words(text), *_choices(task, document)])
        for text, document in zip(asked, documents, strict=True)
    ]


def _words(text: object) -> list[str]:
    return [text] if isinstance(text, str) else []


def _choices(task: "Task", document: object) -> list[str]:
    given = task.doc_to_choice(document) if task.get_config("doc_to_choice") is not None else []
    return [str(choice) for choice in given]


def content_of(task: "Task", documents: Sequence[object]) -> dict[str, object]:
    """All that decides what is asked and how an answer is scored: definition, code, documents, solved examples."""
    examples = list(task.fewshot_docs() or []) if task.get_config("num_fewshot") else []
    return {**_definition(task), "documents": _digest(documents), "examples": _digest(examples)}


def _digest(documents: Sequence[object]) -> str:
    return digest_lines(json.dumps(one, sort_keys=True, ensure_ascii=False, default=str) for one in documents)


def _definition(task: "Task") -> dict[str, object]:
    """The task file as lm-eval reads it, without places of this machine; and the code beside a file of one's own."""
    config = {field.name: getattr(task.config, field.name) for field in dataclasses.fields(task.config)}
    source = Path((config.pop("metadata", None) or {}).get("config_source", "inline"))
    for key in ("dataset_path", "dataset_kwargs"):  # the documents themselves are digested
        config.pop(key)
    own = source.is_file() and not source.is_relative_to(_package())
    code = sorted(source.parent.rglob("*.py")) if own else []
    beside = {file.relative_to(source.parent).as_posix(): digest_file(file) for file in code}
    return {"config": _plain(config), "code": beside}


def _package() -> Path:
    found = importlib.util.find_spec("lm_eval")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _plain(value: object) -> object:
    """As JSON has it; a function by its name, for its code is digested or is the package's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return (
        value
        if isinstance(value, str | int | float | bool | None)
        else getattr(value, "__qualname__", type(value).__name__)
    )

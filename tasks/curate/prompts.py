"""The prompts of a curation as they lie in the store: JSON lines in the order in which they are answered."""

import json
from collections.abc import Iterable

from dpo_core.curate.prompts import PromptItem
from infra.store.base import Store


def put_prompts(store: Store, key: str, items: Iterable[PromptItem]) -> None:
    """Store them."""
    store.put_bytes(key, lines_of_prompts(items))


def lines_of_prompts(items: Iterable[PromptItem]) -> bytes:
    """Prompts as JSON lines."""
    rows = ({"prompt": i.prompt, "source": i.source, "wanted": dict(i.wanted), "where": i.where} for i in items)
    return prompt_lines(rows)


def prompt_lines(rows: Iterable[object]) -> bytes:
    """JSON lines; half a surrogate pair is kept as the escape that it came as."""
    return "".join(f"{json.dumps(row, ensure_ascii=True)}\n" for row in rows).encode()


def stored_prompts(store: Store, key: str) -> list[PromptItem]:
    """Read them."""
    return prompts_of(store.get_bytes(key))


def prompts_of(lines: bytes) -> list[PromptItem]:
    """Of such lines."""
    rows = [json.loads(line) for line in lines.splitlines()]
    return [PromptItem(tuple(row["prompt"]), row["source"], row["wanted"], row["where"]) for row in rows]

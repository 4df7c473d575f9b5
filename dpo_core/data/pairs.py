"""The normalised preference pair: one prompt, the answer people chose, the one they rejected."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NotRequired, TypedDict

from dpo_core.data.digests import digest_json, digest_lines

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]  # {"type", "function": {"name", "arguments"}}, arguments an object
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


@dataclass(frozen=True)
class Pair:
    """One row of a preference data set, whatever file format it came in.

    `prompt` ends before the answer; `chosen` and `rejected` are the messages that follow it on either side
    (usually one assistant message). A data set without chat structure has `plain` set: then each of the three
    holds one message whose content is the text as given, and no chat template is applied.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    source: str = ""
    sft_weight: float = 1.0  # this pair's weight of the SFT term, relative to training.sft_weight
    weight: float = 1.0  # share of the loss, given by validation.on_shortcut: balance; no part of the identity
    plain: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()  # functions the prompt offers, for the chat template
    meta: Mapping[str, Any] = field(default_factory=dict)  # annotator, scores, ...: shown, never trained on
    where: str = ""  # file and line, for messages to people; no part of the identity
    row_id: str = ""  # as the file names the row (or its prompt); no part of the identity

    @cached_property
    def id(self) -> str:
        """Digest of all that training sees of this row."""
        content = [self.prompt, self.chosen, self.rejected, self.source, self.sft_weight, self.plain, dict(self.meta)]
        return digest_json([*content, self.tools] if self.tools else content)

    def to_row(self) -> dict[str, Any]:
        """The row as it is written to the normalised JSONL file."""
        return {
            "id": self.id,
            "prompt": list(self.prompt),
            "chosen": list(self.chosen),
            "rejected": list(self.rejected),
            "source": self.source,
            "sft_weight": self.sft_weight,
            "weight": self.weight,
            "plain": self.plain,
            "tools": list(self.tools),
            "meta": dict(self.meta),
            "where": self.where,
            "row_id": self.row_id,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Pair":
        """The inverse of `to_row`."""
        return cls(
            prompt=tuple(row["prompt"]),
            chosen=tuple(row["chosen"]),
            rejected=tuple(row["rejected"]),
            source=row["source"],
            sft_weight=row["sft_weight"],
            weight=row.get("weight", 1.0),
            plain=row["plain"],
            tools=tuple(row.get("tools", ())),
            meta=row["meta"],
            where=row["where"],
            row_id=row.get("row_id", ""),
        )


@dataclass(frozen=True)
class EncodedPair:
    """A pair as token ids of the training tokenizer (see dpo_core.model.encode).

    `chosen_ids` and `rejected_ids` end with the end-of-turn token; prompt_ids + chosen_ids is what the model reads.
    """

    pair: Pair
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]


def text_of(messages: Iterable[Message]) -> str:
    """All the words of some messages, for statistics on text (never for training)."""
    return "\n".join(_words(message) for message in messages)


def _words(message: Message) -> str:
    """What a message says; its calls as name(arguments)."""
    if "tool_calls" not in message:
        return message["content"]
    calls = (call["function"] for call in message["tool_calls"])
    written = [f"{call['name']}({json.dumps(call['arguments'], ensure_ascii=False)})" for call in calls]
    return "\n".join([message["content"], *written] if message["content"] else written)


def digest_pairs(train: Iterable[Pair], held_out: Iterable[Pair] = ()) -> str:
    """SHA-256 of a data set: every column of every row, in order, their weights, and which are held out."""
    return digest_rows(((pair.id, pair.weight) for pair in train), (pair.id for pair in held_out))


def digest_rows(train: Iterable[tuple[str, float]], held_out: Iterable[str]) -> str:
    """The same from ids and weights."""
    rows = [name if weight == 1 else f"{name} {float(weight).hex()}" for name, weight in train]
    kept_out = list(held_out)
    return digest_lines([*rows, *(["held out"] if kept_out else []), *kept_out])

"""Preference pairs in memory and on disk: one prompt, the answer people chose, the one they rejected.

A `Pair` is text, an `EncodedPair` has its token ids too, an `Example` is what training reads: ids and the reference's
log-probs, without text. A `Spool` holds a data set's pairs on disk.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.digests import digest_json, digest_rows

ROWS = 1024  # rows read, written or handed to a worker at once
Sums = Sequence[float]  # of N answers, log p in nats
Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]  # {"type", "function": {"name", "arguments"}}, arguments an object
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    reasoning_content: NotRequired[str]  # what the assistant thought before it said `content`


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

    def to_row(self) -> dict[str, object]:
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


@dataclass(frozen=True)
class Example:
    """One pair, encoded, with its reference log-probs (nats, summed over response tokens, fp64).

    Those are None where the loss has no reference. `public`: summed over the tokens up to the length of the pair's
    shorter answer, for LD-DPO alone.
    """

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    ref_chosen_logps: float | None
    ref_rejected_logps: float | None
    sft_weight: float = 1.0
    weight: float = 1.0  # of the whole loss of this pair
    where: str = ""  # file and row, for messages to people
    ref_chosen_public_logps: float | None = None
    ref_rejected_public_logps: float | None = None


def examples_of(
    rows: Sequence[EncodedPair], logps: Iterable[Sums] | None = None, public_logps: Iterable[Sums] | None = None
) -> list[Example]:
    """Encoded pairs with the reference log-probs of their (chosen, rejected) answers, where their loss asks for any."""
    columns = (column for sides in (logps, public_logps) for column in sides or ([None] * len(rows),) * 2)
    return [
        Example(
            row.pair.id,
            *(row.prompt_ids, row.chosen_ids, row.rejected_ids),
            *(chosen, rejected),
            *(row.pair.sft_weight, row.pair.weight, row.pair.where),
            *public,
        )
        for row, chosen, rejected, *public in zip(rows, *columns, strict=True)
    ]


def text_of(messages: Iterable[Message]) -> str:
    """All the words of some messages, for statistics on text (never for training)."""
    return "\n".join(_words(message) for message in messages)


def _words(message: Message) -> str:
    """What a message says, after what it thinks; its calls as name(arguments)."""
    if message.keys() <= {"role", "content"}:
        return message["content"]
    calls = (call["function"] for call in message.get("tool_calls", ()))
    written = [f"{call['name']}({json.dumps(call['arguments'], ensure_ascii=False)})" for call in calls]
    return "\n".join(filter(None, [message.get("reasoning_content"), message["content"], *written]))


def digest_pairs(train: Iterable[Pair], held_out: Iterable[Pair] = ()) -> str:
    """SHA-256 of a data set: every column of every row, in order, their weights, and which are held out."""
    return digest_rows(((pair.id, pair.weight) for pair in train), (pair.id for pair in held_out))


def common_prefix(left: Sequence[object], right: Sequence[object]) -> int:
    """How many items (tokens, messages, characters) two sequences begin with in common."""
    differ = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(differ, min(len(left), len(right)))


def write_examples(examples: Sequence[Example], path: Path) -> None:
    """One JSON object a line; floats keep every bit."""
    path.write_text("".join(json.dumps(asdict(example)) + "\n" for example in examples))


def read_examples(path: Path) -> list[Example]:
    """The inverse of `write_examples`."""
    rows: Iterator[dict[str, Any]] = (json.loads(line) for line in path.read_text().splitlines())
    ids = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [Example(**{**row, **{name: tuple(row[name]) for name in ids}}) for row in rows]


@dataclass(frozen=True)
class Part:
    """Some rows next to each other: `first` is the first one's index, `start` and `stop` are bytes of the file."""

    path: str
    first: int
    rows: int
    start: int
    stop: int

    def lines(self) -> list[bytes]:
        """Read them, as they are written."""
        with Path(self.path).open("rb") as file:
            file.seek(self.start)
            return file.read(self.stop - self.start).splitlines()

    def pairs(self) -> list[Pair]:
        """Read them."""
        return [Pair.from_row(json.loads(line)) for line in self.lines()]


@dataclass(frozen=True)
class Spool:
    """N rows in a file. `offsets`: (N + 1,), where each begins, in bytes."""

    path: Path
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def parts(self, rows: int | None = None) -> Iterator[Part]:
        """All rows, `rows` (else ROWS) at a time."""
        rows = rows or ROWS
        for first in range(0, len(self), rows):
            stop = min(first + rows, len(self))
            yield Part(str(self.path), first, stop - first, int(self.offsets[first]), int(self.offsets[stop]))

    def pairs(self, rows: Sequence[int]) -> list[Pair]:
        """The pairs of these indices, in the order asked for."""
        found: dict[int, Pair] = {}
        with self.path.open("rb") as file:
            for row in sorted(set(rows)):
                file.seek(self.offsets[row])
                found[row] = Pair.from_row(json.loads(file.read(int(self.offsets[row + 1] - self.offsets[row]))))
        return [found[row] for row in rows]

    def copy(self, rows: NDArray[np.int64], path: Path, weights: NDArray[np.float64] | None = None) -> Path:
        """Write the lines of these (sorted) indices to another file; with `weights`, pairs that have them."""
        with self.path.open("rb") as file, path.open("wb") as out:
            if weights is not None:
                for part in np.array_split(np.arange(len(rows)), len(rows) // ROWS + 1):
                    pairs = zip(self.pairs(rows[part].tolist()), weights[part].tolist(), strict=True)
                    out.write(lines_of([replace(pair, weight=weight) for pair, weight in pairs])[0])
                return path
            runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
            for run in runs:  # rows next to each other at once, a few MiB at a time
                for part in np.array_split(run, len(run) // ROWS + 1):
                    if len(part):
                        file.seek(self.offsets[part[0]])
                        out.write(file.read(int(self.offsets[part[-1] + 1] - self.offsets[part[0]])))
        return path


class SpoolWriter:
    """Appends lines to a spool's file; `spool` closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("wb")
        self.lengths: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]

    def append(self, lines: bytes, lengths: NDArray[np.int64]) -> None:
        """Add rows: their lines, and the length of each in bytes, line end included."""
        self.file.write(lines)
        self.lengths.append(lengths)

    def spool(self) -> Spool:
        """What was written."""
        self.file.close()
        return Spool(self.path, np.cumsum(np.concatenate(self.lengths)))

    def __enter__(self) -> "SpoolWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def lines_of(pairs: Sequence[Pair]) -> tuple[bytes, NDArray[np.int64]]:
    """Rows as they are written, and the length of each in bytes."""
    lines = [json.dumps(pair.to_row()).encode() + b"\n" for pair in pairs]
    return b"".join(lines), np.array([len(line) for line in lines], dtype=np.int64)


def id_lines_of(rows: Sequence[EncodedPair | None]) -> tuple[bytes, NDArray[np.int64]]:
    """Token ids as they are written, [prompt, chosen, rejected] a line, an empty one for None; the lengths in bytes."""
    ids = ([row.prompt_ids, row.chosen_ids, row.rejected_ids] if row else None for row in rows)
    lines = [(json.dumps(row, separators=(",", ":")) if row else "").encode() + b"\n" for row in ids]
    return b"".join(lines), np.array([len(line) for line in lines], dtype=np.int64)


def with_ids(pairs: Sequence[Pair], lines: Sequence[bytes]) -> list[EncodedPair]:
    """Pairs with the token ids that `id_lines_of` wrote of them."""
    return [EncodedPair(pair, *map(tuple, json.loads(line))) for pair, line in zip(pairs, lines, strict=True)]

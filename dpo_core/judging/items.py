"""What people judge: a prompt with two answers, or with one that they correct; and the rows that become that."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from dpo_core.data.columns import meta_of, require_text_alone, row_id_of, source_of
from dpo_core.data.conversations import side_of
from dpo_core.data.digests import digest_json, prompt_digest
from dpo_core.data.messages import (
    BadRow,
    as_compared,
    kind_of,
    messages_of,
    require_turns,
    require_words,
    say,
    tools_of,
)
from dpo_core.data.pairs import Message, Pair
from dpo_core.data.questions import QUESTIONS, with_context

JudgingMode = Literal["compare", "edit"]
Answer = tuple[Message, ...]
SEVERAL = ("answers", "responses", "completions", "generations")  # columns with a list of answers
SINGLE = ("answer", "response", "completion", "output")  # columns with one answer: rows of one prompt belong together
TEXTS = ("text", "content", "response", "answer")  # keys of an answer that is an object
WRITERS = ("model", "generator", "model_name")
UNDECIDED = "it has one answer: there is nothing to compare"


@dataclass(frozen=True)
class JudgedItem:
    """A prompt and its answers: two, in an order by their digests that says nothing of them; or one to correct.

    `writers` are who wrote them, "" where nobody says; people never see that, nor `source`.
    """

    prompt: Answer
    answers: tuple[Answer, ...]
    source: str = ""
    plain: bool = False
    tools: tuple[Mapping[str, object], ...] = ()
    writers: tuple[str, ...] = ()
    row_id: str = ""

    @cached_property
    def id(self) -> str:
        """Digest of prompt and answers, in whichever order a file has them; 32 digits."""
        return digest_json([self.prompt, self.answers, *([self.tools] if self.tools else [])])[:32]

    @property
    def cluster(self) -> str:
        """Items of one prompt are one group in every interval."""
        return prompt_digest(self.prompt)

    def filled(self, other: "JudgedItem") -> "JudgedItem":
        """With what the other, of the same words, says of where they are from and this one does not."""
        told = self if self.source or self.row_id else other
        return replace(
            self,
            source=told.source,
            row_id=told.row_id,
            writers=self.writers or other.writers,
            plain=self.plain or other.plain,
        )

    def to_line(self) -> dict[str, object]:
        """As a file of judgements holds it, so that what was judged outlives the file that it came from."""
        line: dict[str, object] = {"kind": "item", "id": self.id, "prompt": self.prompt, "answers": self.answers}
        more = {name: getattr(self, name) for name in ("source", "plain", "tools", "writers", "row_id")}
        return line | {name: value for name, value in more.items() if value}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> "JudgedItem":
        """The inverse of `to_line`. Raises BadRow."""
        answers = line.get("answers")
        if not isinstance(answers, list) or len(answers) not in (1, 2):
            raise BadRow("an item has one answer or two")
        item = cls(
            prompt=tuple(messages_of(line.get("prompt"), "prompt")),
            answers=tuple(tuple(messages_of(side, f"answers[{place}]")) for place, side in enumerate(answers)),
            source=str(line.get("source", "")),
            plain=bool(line.get("plain", False)),
            tools=tools_of(line.get("tools", [])),
            writers=tuple(map(str, line.get("writers", ()))),
            row_id=str(line.get("row_id", "")),
        )
        if item.id != line.get("id"):
            raise BadRow("the item's id is not that of its texts: they were changed")
        return item


def compared(
    prompt: Sequence[Message],
    one: Sequence[Message],
    other: Sequence[Message],
    writers: Sequence[str] = ("", ""),
    **more: Any,
) -> JudgedItem:
    """An item of two answers, which a digest orders."""
    sides = [(tuple(one), writers[0]), (tuple(other), writers[1])]
    if _place(one) > _place(other):
        sides.reverse()
    names = tuple(writer for _, writer in sides)
    return JudgedItem(tuple(prompt), tuple(side for side, _ in sides), writers=names if any(names) else (), **more)


def _place(answer: Sequence[Message]) -> str:
    """Where an answer stands among two, whatever is in it; quick, for most answers are one text."""
    if len(answer) == 1 and answer[0].keys() == {"role", "content"}:
        return hashlib.sha256(answer[0]["content"].encode("utf-8", "surrogatepass")).hexdigest()
    return digest_json(list(answer))


def item_of_pair(pair: Pair, mode: JudgingMode) -> JudgedItem:
    """Both sides of a pair; to edit, its rejected one. Raises BadRow for an answer that is no single text."""
    more = {"source": pair.source, "plain": pair.plain, "tools": pair.tools, "row_id": pair.row_id}
    chosen, rejected = (str(pair.meta.get(f"{side}_model") or "") for side in ("chosen", "rejected"))
    if mode == "compare":
        return compared(pair.prompt, pair.chosen, pair.rejected, (chosen, rejected), **more)
    return _to_edit(pair.prompt, pair.rejected, rejected, more)


def _to_edit(prompt: Sequence[Message], answer: Sequence[Message], writer: str, more: Mapping[str, Any]) -> JudgedItem:
    if len(answer) != 1 or answer[0].get("tool_calls"):
        raise BadRow("the answer has several turns, or calls functions: only one text can be edited")
    return JudgedItem(tuple(prompt), (tuple(answer),), writers=(writer,) if writer else (), **more)


@dataclass(frozen=True)
class AnswerRow:
    """A row of answers that nobody compared: the prompt, the texts, who wrote them."""

    prompt: Answer
    answers: tuple[Answer, ...]
    writers: tuple[str, ...]
    source: str
    row_id: str


def has_answers(row: Mapping[str, object]) -> bool:
    """Whether a row is a prompt with answers that nobody compared, in `answers` and the like, or one a row."""
    if any(name in row for name in ("chosen", "rejected", "rejected_response", "ratings", "contents")):
        return False
    value = next((row[name] for name in SEVERAL if name in row), None)
    if isinstance(value, list):
        return "answers" in row or all(isinstance(answer, str) for answer in value)
    return any(isinstance(row.get(name), str) for name in SINGLE)


def answers_of_row(row: Mapping[str, Any]) -> AnswerRow:
    """The prompt and the answers of such a row. Raises BadRow."""
    require_text_alone(row)
    asks = next((name for name in QUESTIONS if row.get(name)), None)
    if asks is None:
        raise BadRow(f"missing column 'prompt'; the row has {', '.join(sorted(map(str, row)))[:200]}")
    asked = side_of(row[asks], asks)
    prompt = with_context(row, say("user", asked) if isinstance(asked, str) else asked)
    require_words(prompt, "prompt")
    require_turns(prompt)
    if prompt[-1]["role"] == "assistant":
        raise BadRow("the prompt ends with an assistant turn: there is nothing to answer")
    column = next((name for name in (*SEVERAL, *SINGLE) if name in row), None)
    if column is None:
        raise BadRow(f"missing column 'answers'; the row has {', '.join(sorted(map(str, row)))[:200]}")
    values = row[column] if isinstance(row[column], list) else [row]
    several = isinstance(row[column], list)
    told = [_answer(value, column, f"{column}[{n}]" if several else column) for n, value in enumerate(values)]
    return AnswerRow(
        tuple(prompt),
        tuple(tuple(answer) for answer, _ in told),
        tuple(writer for _, writer in told),
        source_of(row),
        row_id_of(row, meta_of(row)),
    )


def _answer(value: object, column: str, place: str) -> tuple[list[Message], str]:
    writer = ""
    if isinstance(value, Mapping):
        name = next((name for name in (column, *TEXTS) if isinstance(value.get(name), str)), None)
        if name is None:
            raise BadRow(f"{place} has no text; it has {', '.join(sorted(map(str, value)))[:200]}")
        writer = next((str(value[name]) for name in WRITERS if value.get(name)), "")
        value = value[name]
    if not isinstance(value, str | list):
        raise BadRow(f"{place} is {kind_of(value)}, not text")
    side = side_of(value, place)
    messages = say("assistant", side) if isinstance(side, str) else side
    require_words(messages, place)
    return messages, writer


def items_of_answers(rows: Sequence[AnswerRow], mode: JudgingMode, lot: Sequence[float]) -> Iterator[JudgedItem]:
    """Items of all answers to one prompt, which the rows share; `lot`: a number for each answer, in order.

    To compare, the answers are drawn two by two, each once; of an odd number the last meets the first. Raises BadRow
    where fewer than two differ.
    """
    first = rows[0]
    more = {"source": first.source, "row_id": first.row_id}
    every = [pair for row in rows for pair in zip(row.answers, row.writers, strict=True)]
    distinct: dict[str, tuple[float, Answer, str]] = {}
    for number, (answer, writer) in zip(lot, every, strict=True):
        distinct.setdefault(digest_json(as_compared(answer)), (number, answer, writer))
    drawn = [(answer, writer) for _, answer, writer in sorted(distinct.values(), key=lambda told: told[0])]
    if mode == "edit":
        yield from (_to_edit(first.prompt, answer, writer, more) for answer, writer in drawn)
        return
    if len(drawn) < 2:
        raise BadRow(UNDECIDED)
    drawn += drawn[:1] if len(drawn) % 2 else []
    for (one, by_one), (other, by_other) in zip(drawn[::2], drawn[1::2], strict=True):
        yield compared(first.prompt, one, other, (by_one, by_other), **more)

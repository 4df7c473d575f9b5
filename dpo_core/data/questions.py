"""Rows that ask in more than one column: Alpaca's ranking files, Orca's pairs, ms-swift's and Argilla's.

Also `system` and `history`, which may stand beside the prompt of any shape; and the rule that no column of the asking
side is left out in silence: it is read, it repeats what is read, or the row is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dpo_core.data.conversations import Conversations, shared_beginning, side_of, spoken
from dpo_core.data.messages import BadRow, kind_of, messages_of, say
from dpo_core.data.pairs import Message

QUESTIONS = ("instruction", "question", "query", "prompt", "input")  # the first that is there asks
ANSWERS = (("chosen", "rejected"), ("chosen_response", "rejected_response"), ("response", "rejected_response"))
SYSTEM = ("system", "system_prompt")
CONTEXT = (*SYSTEM, "history")
THOUGHTS = ("reasoning_content", "thinking")
ASKING = (*QUESTIONS, "context", "messages", "conversations", "contents", *THOUGHTS)  # mean something in some format


def asks_in_columns(row: Mapping[str, object]) -> bool:
    """Whether the question and two answers stand in columns of their own, as text."""
    asked = any(name in row for name in QUESTIONS)
    return asked and (isinstance(row.get("output"), list) or any(all(n in row for n in names) for names in ANSWERS))


def question_of(row: Mapping[str, object]) -> str:
    """The column that asks."""
    return next((name for name in QUESTIONS if row.get(name)), "prompt")


def question_sides(row: Mapping[str, object]) -> Conversations:
    """Question and answers; Alpaca's `input` belongs to its `instruction`."""
    name = question_of(row)
    asked = side_of(row.get(name), name)
    if isinstance(asked, str):
        more = row.get("input") if name == "instruction" else None
        if more is not None and not isinstance(more, str):
            raise BadRow(f"input is {kind_of(more)}, not text")
        asked = say("user", f"{asked}\n{more}" if more else asked)
    chosen, rejected = (say("assistant", s) if isinstance(s, str) else s for s in _answers(row))
    return asked, chosen, rejected


def _answers(row: Mapping[str, Any]) -> list[str | list[Message]]:
    names = next((names for names in ANSWERS if all(name in row for name in names)), None)
    if names is not None:
        return [side_of(row[name], name) for name in names]
    output = row["output"]
    if len(output) != 2:
        raise BadRow(f"output holds {len(output)} answers: a pair is two, the better one first")
    return [side_of(answer, f"output[{number}]") for number, answer in enumerate(output)]


def swift_sides(row: Mapping[str, object]) -> Conversations:
    """ms-swift's `messages`, which end with the chosen answer, and what was rejected: an answer, or all of it."""
    whole = spoken(row["messages"], "messages")
    if row.get("rejected_messages"):
        return shared_beginning(whole, spoken(row["rejected_messages"], "rejected_messages"))
    if whole[-1]["role"] != "assistant":
        raise BadRow("messages do not end with an answer: there is nothing that was chosen")
    rejected = side_of(row.get("rejected_response"), "rejected_response")
    return whole[:-1], whole[-1:], say("assistant", rejected) if isinstance(rejected, str) else rejected


def with_context(row: Mapping[str, Any], prompt: list[Message]) -> list[Message]:
    """The prompt after the turns of `history`, below the `system` turn, where the row has such columns."""
    for name in SYSTEM:
        if row.get(name) and not isinstance(row[name], str):
            raise BadRow(f"{name} is {kind_of(row[name])}, not text")
    top = prompt[:1] if prompt and prompt[0]["role"] in ("system", "developer") else []
    given = [row[name] for name in SYSTEM if row.get(name) and row[name].strip()]
    if len({text.strip() for text in (*given, *(m["content"] for m in top))}) > 1:
        raise BadRow("two system texts that differ")
    return [*(top or (say("system", given[0]) if given else [])), *_history(row.get("history")), *prompt[len(top) :]]


def has_context(row: Mapping[str, object]) -> bool:
    """Whether a row has chat structure beside its texts; an empty `system` says so too."""
    return any(name in row for name in CONTEXT)


def _history(value: object) -> list[Message]:
    """Alpaca's and ms-swift's earlier turns: [question, answer] each; or messages."""
    if not value:
        return []
    if isinstance(value, str):
        value = side_of(value, "history")
    if not isinstance(value, list):
        raise BadRow(f"history is {kind_of(value)}, not a list of [question, answer]")
    if isinstance(value[0], Mapping):
        return messages_of(value, "history")
    turns: list[Message] = []
    for number, item in enumerate(value):
        if not isinstance(item, list) or len(item) != 2 or not all(isinstance(text, str) for text in item):
            raise BadRow(f"history[{number}] is not [question, answer]")
        turns += [*say("user", item[0]), *say("assistant", item[1])]
    return turns


def require_used(
    row: Mapping[str, object], read: frozenset[str], prompt: Sequence[Message], chosen: Sequence[Message]
) -> None:
    """Raises BadRow for a column of the asking side that is neither read nor a repetition of what is."""
    said = {message["content"].strip() for message in prompt}
    said |= {"\n".join(m["content"] for m in prompt).strip(), *(m["content"].strip() for m in chosen)}
    for name in ASKING:
        if name in read or not row.get(name):
            continue
        if not all(text.strip() in said for text in _texts(row[name])):
            raise BadRow(_unused(name, row))


def _unused(name: str, row: Mapping[str, object]) -> str:
    if name in THOUGHTS:
        return f"column {name!r}: of which answer it is the thought is not said"
    if name == "input" and "prompt" in row:
        return "column 'input' beside 'prompt': whether it belongs to the question is not said"
    return f"column {name!r} says something else than the prompt, and would be left out"


def _texts(value: object) -> Iterator[str]:
    """All that a value says."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(value.get("content", value.get("value", value.get("messages"))))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)

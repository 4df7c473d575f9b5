"""Prompts of files and data sets in every shape that is read: what is asked, and what the row says beside it.

Rows of pairs give their prompt; other rows the column that asks, or a conversation up to its last question. A bad row
is quarantined with its place and reason: rows = prompts + quarantined.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpo_core.data.columns import COMMON, MissingColumn, require_text_alone, source_of
from dpo_core.data.conversations import side_of
from dpo_core.data.digests import prompt_digest
from dpo_core.data.messages import BadRow, kind_of, require_turns, require_words, say
from dpo_core.data.pairs import Message
from dpo_core.data.questions import ASKING, CONTEXT, QUESTIONS, asks_in_columns, require_used, with_context
from dpo_core.data.readers import Quarantined, chunks_of
from dpo_core.data.reasons import Reasons, remedy_of
from dpo_core.data.shapes import QUESTION, shape_of, to_pair
from dpo_core.data.text_files import LINE_LIMIT, RawRow
from dpo_core.data.transcripts import is_rendered
from dpo_core.errors import InputError

CONVERSATIONS = ("messages", "conversations")
NO_TOOLS = "column 'tools': the prompt offers functions, which no answer of a curation can call"


@dataclass(frozen=True)
class PromptItem:
    """One prompt. `source`: the part of the data; `wanted`: the row's other columns; `where`: file and line."""

    prompt: tuple[Message, ...]
    source: str = ""
    wanted: Mapping[str, object] = field(default_factory=dict)
    where: str = ""

    @property
    def key(self) -> str:
        """Digest of the messages."""
        return prompt_digest(self.prompt)


@dataclass(frozen=True)
class ReadPrompts:
    """A source's content: prompts, and rows that are none."""

    items: list[PromptItem]
    quarantined: list[Quarantined]

    @property
    def rows(self) -> int:
        """All that were read."""
        return len(self.items) + len(self.quarantined)


def read_items(source: str, name: str = "") -> ReadPrompts:
    """Every prompt of a file, folder, pattern or data set of the hub; `.txt`: a prompt a line.

    `name`: the source of rows that name none; the file's own where empty. Raises InputError where the source cannot be
    used, or holds no prompt.
    """
    items, quarantined, reasons = [], list[Quarantined](), Reasons()
    for raw in _rows(source):
        try:
            items.append(_item(raw, name or Path(source).name))
        except BadRow as bad:
            quarantined.append(Quarantined(raw.where, raw.number, str(bad), raw.excerpt()))
            reasons.add([str(bad)])
    if items:
        return ReadPrompts(items, quarantined)
    if not quarantined:
        raise InputError("the file has no prompts", where=source, do="write one prompt a line, or check the export")
    first = quarantined[0]
    says = f"none of {len(quarantined)} rows is a prompt; the first: {first.reason}"
    raise InputError(says, where=first.where, do=_remedy(first.reason))


def prompt_of(row: Mapping[str, object], where: str) -> tuple[tuple[Message, ...], dict[str, object]]:
    """The prompt of a row, and what the row says beside it. Raises BadRow."""
    require_text_alone(row)
    if row.get("tools"):
        raise BadRow(NO_TOOLS)
    if _is_pair(row):
        pair = to_pair(row, where)
        if pair.tools:
            raise BadRow(NO_TOOLS)
        return pair.prompt, {}
    prompt, read = _asked(row)
    prompt = with_context(row, prompt)
    require_used(row, frozenset(read), prompt, ())
    require_words(prompt, "prompt")
    require_turns(prompt)
    beside = {str(key): value for key, value in row.items() if key not in (*ASKING, *CONTEXT, *COMMON)}
    return tuple(prompt), {key: value for key, value in beside.items() if value is not None}


def _asked(row: Mapping[str, object]) -> tuple[list[Message], tuple[str, ...]]:
    """The turns up to the question, and the columns that were read."""
    name = next((name for name in ("prompt", *CONVERSATIONS, *QUESTIONS) if row.get(name)), None)
    if name is None:
        raise MissingColumn("prompt", row)
    if is_rendered(row[name]):
        raise BadRow(f"{name} is text that a chat template has made")
    value = side_of(row[name], name)
    if isinstance(value, str):
        more = row.get("input") if name == "instruction" else None
        if more is not None and not isinstance(more, str):
            raise BadRow(f"input is {kind_of(more)}, not text")
        return say("user", f"{value}\n{more}" if more else value), (name, "input") if more else (name,)
    if name in CONVERSATIONS:
        last = max((place for place, message in enumerate(value) if message["role"] == "user"), default=-1)
        value = value[: last + 1]
    if not value or value[-1]["role"] != "user":
        raise BadRow(f"{name} does not end with a question: the last turn of a prompt is the user's")
    return value, (name,)


def _is_pair(row: Mapping[str, object]) -> bool:
    """Whether a row has answers to compare: all columns of its shape."""
    shape = shape_of(row)
    return all(column in row for column in shape.needs) and (shape is not QUESTION or asks_in_columns(row))


def _item(raw: RawRow, name: str) -> PromptItem:
    if isinstance(raw.row, BadRow):
        raise raw.row
    try:
        prompt, wanted = prompt_of(raw.row, raw.where)
        item = PromptItem(prompt, source_of(raw.row) or name, wanted, raw.where)
        item.key  # noqa: B018  made now: what cannot be digested cannot be a prompt
    except (RecursionError, TypeError):
        raise BadRow("the row is nested too deeply, or holds what is no JSON") from None
    return item


def _rows(source: str) -> Iterator[RawRow]:
    path = Path(source)
    if path.suffix == ".txt":
        yield from _lines(path)
        return
    for chunk in chunks_of(source):
        yield from chunk.rows()


def _lines(path: Path) -> Iterator[RawRow]:
    """Lines that are not blank, a prompt each."""
    try:
        data = path.read_bytes()
    except OSError as error:
        says = f"the prompts cannot be read: {error.strerror or error}"
        raise InputError(says, where=str(path), do="check the path, and who may read it") from None
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if line.strip():
            yield _line(line, f"{path}:{number}", number)


def _line(line: bytes, where: str, number: int) -> RawRow:
    try:
        text = line.decode().strip()
    except UnicodeDecodeError as error:
        bad = BadRow(f"not UTF-8 text: byte 0x{line[error.start]:02x} at byte {error.start} of the row")
        return RawRow(where, number, line.decode(errors="backslashreplace"), bad)
    if len(text) > LINE_LIMIT:
        return RawRow(where, number, text, BadRow(f"the row has {len(text):,} characters, more than {LINE_LIMIT:,}"))
    return RawRow(where, number, text, {"prompt": text})


def _remedy(reason: str) -> str:
    if reason.startswith("missing column"):
        return 'write one {"prompt": ...} or {"messages": [...]} a line, or plain text (.txt) with one prompt a line'
    if "functions" in reason:
        return "take out the rows with tools"
    if "does not end with a question" in reason:
        return "cut the prompts after the user's last turn"
    return remedy_of(reason)

"""One row of a data set's version on disk: TRL's columns, such that reading it gives the same pair; and its ids."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from dpo_core.data.digests import digest_json, prompt_digest
from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import Message, Pair
from dpo_core.data.reasons import remedy_of
from dpo_core.data.shapes import to_pair
from dpo_core.data.text_files import parse
from dpo_core.errors import InputError


class RowIds(NamedTuple):
    """Names that a row can be forgotten by, SHA-256 in hex.

    `row` is the pair's id (text, source, meta), `prompt` that of its prompt, `words` of prompt and answers alone:
    the same words with another source or score are the same for who wants them out.
    """

    row: str
    prompt: str
    words: str

    def to_bytes(self) -> bytes:
        """As they are stored beside the rows."""
        return b"".join(map(bytes.fromhex, self))


def ids_of_pair(pair: Pair) -> RowIds:
    """The three names of a pair."""
    return RowIds(pair.id, prompt_digest(pair.prompt), digest_json([pair.prompt, pair.chosen, pair.rejected]))


def pair_of(row: Pair | Mapping[str, object], where: str) -> Pair:
    """The pair of a row in any shape that is read. Raises InputError."""
    if isinstance(row, Pair):
        return row
    try:
        return to_pair(row, where)
    except (BadRow, RecursionError) as bad:
        reason = str(bad)
        raise InputError(f"the row is no pair: {reason}", where=where, do=remedy_of(reason)) from None


def of_one_kind(pairs: Sequence[Pair]) -> list[Pair]:
    """As text where all are text, else all as messages: a source holds one kind."""
    plain = all(pair.plain for pair in pairs)
    return [pair if pair.plain == plain else replace(pair, plain=plain) for pair in pairs]


def line_of(pair: Pair) -> bytes:
    """The row's line. Raises InputError for a pair that would not be read back as it is."""
    line = json.dumps(columns_of(pair), ensure_ascii=False, allow_nan=False)
    try:
        data = line.encode() + b"\n"
        row = parse(line)
        again = to_pair(row, "") if not isinstance(row, BadRow) else None
        why = str(row) if again is None else "another pair comes of it"
    except (BadRow, UnicodeEncodeError) as error:
        again, why = None, str(error)
    if again is None or again.id != pair.id:
        do = "write its prompt and answers as messages, as docs/data.md shows them"
        raise InputError(f"the row would not be read back as it is: {why}", where=pair.where or "row", do=do)
    return data


def columns_of(pair: Pair) -> dict[str, object]:
    """TRL's columns: texts where the pair is plain, which as messages would be read back as a chat."""
    text = pair.plain
    columns: dict[str, object] = {
        "id": pair.id,
        "row_id": pair.row_id,  # always: else `id` would be taken for it
        "prompt": _text(pair.prompt) if text else list(pair.prompt),
        "chosen": _text(pair.chosen) if text else list(pair.chosen),
        "rejected": _text(pair.rejected) if text else list(pair.rejected),
    }
    given = {"source": pair.source, "tools": list(pair.tools), "meta": dict(pair.meta)}
    if pair.sft_weight != 1.0:
        columns["sft_weight"] = pair.sft_weight
    return columns | {name: value for name, value in given.items() if value}


def _text(messages: tuple[Message, ...]) -> str:
    return messages[0]["content"]


def place(salt: str, name: str) -> float:
    """A number in [0, 1) for a row's id, evenly spread and always the same for one salt: what a draw goes by."""
    return int.from_bytes(hashlib.sha256(f"{salt}\n{name}".encode()).digest()[:8], "big") / 2.0**64

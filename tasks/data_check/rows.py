"""The two passes over the rows of a data check: read and spool them; then encode and describe what was spooled.

Between the passes the rows lie on disk. Each pass runs in worker processes where there are many rows: keep the imports
light.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import EncodedPair, Pair, Part, Spool, SpoolWriter, id_lines_of, lines_of, with_ids
from dpo_core.data.readers import Quarantined, Tally, chunks_of, read_chunk
from dpo_core.data.reasons import Reasons
from dpo_core.data.sources import digest_source
from dpo_core.data.text_files import Chunk
from dpo_core.errors import InputError
from dpo_core.quality.examine import SEPARATION, columns
from dpo_core.quality.features.ngrams import Grams, grams
from dpo_core.quality.postings import PromptIndex
from dpo_core.quality.prompts.groups import PromptGroups, Sketches, group_prompts, sketches
from dpo_core.quality.prompts.identity import digests, prompt_key, split_key
from dpo_core.quality.shortcuts.mitigation import Rule, rule_columns
from dpo_core.quality.table import Columns, joined
from dpo_core.quality.text.redaction import redact
from dpo_core.recipe import Encoding, Validation
from tasks.data_check.encoding import encode
from tasks.runtime.workers import in_order

NO_PROMPT = "TRL implicit prompt, text"  # of `format_of`


@dataclass(frozen=True)
class Source:
    """What was seen of one source."""

    name: str
    tally: Tally
    sha256: str


@dataclass(frozen=True)
class Normalised:
    """Every good row of all sources, in order. Arrays have one entry a row.

    `origins`: which source; `prompts`: digests; `questions`: digests of what the split goes by; `groups`: of nearly
    equal prompts; `ids`: (N, 32), the pairs' ids.
    """

    spool: Spool
    origins: NDArray[np.int64]
    prompts: NDArray[np.int64]
    questions: NDArray[np.int64]
    groups: PromptGroups
    ids: NDArray[np.uint8]
    sources: list[Source]


@dataclass(frozen=True)
class NormalisedChunk:
    """The rows of one chunk, as they are spooled, with what the split and the sample need."""

    lines: bytes
    lengths: NDArray[np.int64]
    prompts: NDArray[np.int64]
    questions: NDArray[np.int64]
    sketches: Sketches
    ids: bytes
    quarantined: list[Quarantined]
    tally: Tally


class Quarantine:
    """Rows that cannot be used: written as they come, keys and addresses masked; counted by reason."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.reasons = path, 0, Reasons()
        path.write_bytes(b"")

    def add(self, rows: Sequence[Quarantined]) -> None:
        """Put rows in quarantine."""
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            for row in rows:
                entry = {"where": row.where, "line": row.line, "reason": row.reason, "row": redact(row.row)}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.rows += len(rows)
        self.reasons.add(row.reason for row in rows)


def normalise_sources(
    names: Sequence[str], folder: Path, quarantine: Quarantine, *, workers: int, turns: bool = False
) -> Normalised:
    """Spool every good row of the sources to `folder`, plain text as turns of a chat if `turns`.

    Raises InputError for a source that cannot be used.
    """
    sources, chunks, origins = [], [], []
    with SpoolWriter(folder / "rows.jsonl") as writer:
        for number, name in enumerate(names):
            tally = Tally()
            for chunk in _normalised_chunks(name, workers, turns):
                writer.append(chunk.lines, chunk.lengths)
                quarantine.add(chunk.quarantined)
                tally.add(chunk.tally)
                ids = np.frombuffer(chunk.ids, dtype=np.uint8)
                chunks.append((chunk.prompts, chunk.questions, chunk.sketches, ids))
                origins.append(np.full(len(chunk.lengths), number))
            tally.require_pairs(name)
            if turns and NO_PROMPT in tally.formats:
                raise InputError(
                    "data.text is turns, but rows have no prompt: where it ends in their texts is not known",
                    where=name,
                    do="give the rows a column prompt, or leave data.text out",
                )
            sources.append(Source(name, tally, digest_source(name)))
        spool = writer.spool()
    prompts, questions, sketched, ids = (np.concatenate(column) for column in zip(*chunks, strict=True))
    groups = group_prompts(questions, sketched)
    return Normalised(spool, np.concatenate(origins), prompts, questions, groups, ids.reshape(-1, 32), sources)


def _normalised_chunks(name: str, workers: int, turns: bool) -> Iterator[NormalisedChunk]:
    """The first good chunk tells whether all rows must be text, or messages."""
    chunks = chunks_of(name)
    for chunk in chunks:
        first = normalise_chunk(None, turns, chunk)
        yield first
        if first.tally.first_good is not None:
            yield from in_order(partial(normalise_chunk, first.tally.first_good, turns), chunks, workers=workers)


def normalise_chunk(first: Pair | None, turns: bool, chunk: Chunk) -> NormalisedChunk:
    """Parse and check the rows of a chunk."""
    rows, tally = read_chunk(chunk, first)
    pairs = [taken(row, turns) for row in rows if isinstance(row, Pair)]
    return NormalisedChunk(
        *lines_of(pairs),
        prompts=digests(prompt_key(pair.prompt) for pair in pairs),
        questions=digests(split_key(pair.prompt) for pair in pairs),
        sketches=sketches([pair.prompt for pair in pairs]),
        ids=bytes.fromhex("".join(pair.id for pair in pairs)),
        quarantined=[row for row in rows if isinstance(row, Quarantined)],
        tally=tally,
    )


def taken(pair: Pair, turns: bool) -> Pair:
    """Plain text as the turns of a chat, if `turns`."""
    return replace(pair, plain=False) if turns and pair.plain else pair


@dataclass(frozen=True)
class Wanted:
    """What a process must know to describe rows.

    `bound`: prompts with a digest up to it are in the sample. `indexes`: prompts that none may share.
    """

    validation: Validation
    encoding: Encoding
    tokenizer: str | None  # folder
    bound: int
    indexes: Sequence[PromptIndex]
    trusted_code: str | None = None  # SHA-256 of code of the tokenizer's own that may run


@dataclass(frozen=True)
class DescribedPart:
    """`kept`: (rows of the part,), whether each can be encoded; `columns` and `sampled` have an entry a kept row.

    `left_out`: columns of what was to be trained on and cannot be encoded. `id_lines`: token ids, a line a row.
    """

    kept: NDArray[np.bool_]
    columns: Columns
    left_out: Columns
    sampled: NDArray[np.bool_]
    grams: Grams
    refused: list[Quarantined]
    encoding: Counter[str]
    id_lines: bytes
    id_lengths: NDArray[np.int64]


@dataclass(frozen=True)
class Described:
    """Arrays over the spool's rows (`kept`, `sampled`) and over the kept rows (`columns`); n-grams of the sample.

    `ids`: token ids of the spool's rows, in order; no ids where there is no tokenizer.
    """

    kept: NDArray[np.bool_]
    sampled: NDArray[np.bool_]
    columns: Columns
    left_out: Columns
    grams: list[Grams]
    refused: list[Quarantined]
    encoding: dict[str, int]
    ids: Spool


def describe_rows(
    data: Normalised, train: NDArray[np.bool_], wanted: Wanted, folder: Path, *, workers: int
) -> Described:
    """Describe every row; n-grams are taken of rows of `train` alone, those in the sample. Ids go to `folder`."""
    parts = ((part, train[part.first : part.first + part.rows]) for part in data.spool.parts())
    described: list[DescribedPart] = []
    encoding: Counter[str] = Counter()
    with SpoolWriter(folder / "ids.jsonl") as writer:
        for part in in_order(partial(describe_part, wanted), parts, workers=workers):
            writer.append(part.id_lines, part.id_lengths)
            encoding.update(part.encoding)
            described.append(replace(part, id_lines=b""))
        ids = writer.spool()
    return Described(
        kept=_over(part.kept for part in described),
        sampled=_over(part.sampled for part in described),
        columns=joined([part.columns for part in described]),
        left_out=joined([part.left_out for part in described]),
        grams=[part.grams for part in described],
        refused=[row for part in described for row in part.refused],
        encoding=dict(encoding),
        ids=ids,
    )


def describe_part(wanted: Wanted, item: tuple[Part, NDArray[np.bool_]]) -> DescribedPart:
    """Encode and describe the rows of a part; the second of `item` tells which are trained on."""
    part, train = item
    pairs = part.pairs()
    encoded, refused, encoding = encode(pairs, wanted.encoding, wanted.tokenizer, wanted.trusted_code)
    by_pair = {id(row.pair): row for row in encoded}
    rows = [by_pair.get(id(pair)) for pair in pairs]
    kept = np.array([row is not None for row in rows], dtype=np.bool_)
    found = columns(encoded, wanted.validation, wanted.indexes)
    sampled = np.zeros(len(pairs), dtype=np.bool_)
    sampled[kept] = train[kept] & (found["prompt"] <= wanted.bound)
    left_out = [
        EncodedPair(p, (), (), ()) for p, fits, mine in zip(pairs, kept, train, strict=True) if mine and not fits
    ]
    id_lines, id_lengths = id_lines_of(rows)
    return DescribedPart(
        kept,
        found,
        columns(left_out, wanted.validation, checks=SEPARATION),
        sampled,
        grams([pair for pair, taken in zip(encoded, sampled[kept], strict=True) if taken]),
        [Quarantined(pair.where, _line_of(pair.where), reason, str(pair.to_row())) for pair, reason in refused],
        encoding,
        id_lines,
        id_lengths,
    )


def look_up_rules(
    data: Normalised, ids: Spool, train: NDArray[np.int64], rules: Sequence[Rule], *, workers: int
) -> NDArray[np.int8]:
    """`rule_columns` of the pairs with these indices of the spool: (pairs, rules)."""
    trained = np.zeros(len(data.spool), dtype=np.bool_)
    trained[train] = True
    parts = (
        (part, id_part, trained[part.first : part.first + part.rows])
        for part, id_part in zip(data.spool.parts(), ids.parts(), strict=True)
    )
    return np.concatenate(list(in_order(partial(look_up_part, tuple(rules)), parts, workers=workers)))


def look_up_part(rules: Sequence[Rule], item: tuple[Part, Part, NDArray[np.bool_]]) -> NDArray[np.int8]:
    """The rules in the pairs of a part that are trained on: (pairs, rules). `item`: rows, their ids, which of them."""
    part, ids, train = item
    mine = np.flatnonzero(train)
    pairs, lines = part.pairs(), ids.lines()
    return rule_columns(with_ids([pairs[row] for row in mine], [lines[row] for row in mine]), rules)["rules"]


def _line_of(where: str) -> int:
    """The row's number in its file, from its address."""
    return int(where.rpartition(":")[2].removeprefix("row ").partition(" ")[0] or 0)


def _over(arrays: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.concatenate([np.zeros(0, dtype=np.bool_), *arrays])

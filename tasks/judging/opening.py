"""What is judged, of any source: pairs in each shape that is read, or answers that nobody compared."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from dpo_core.data.digests import digest_json, prompt_digest
from dpo_core.data.hub import is_hub_name
from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import Pair
from dpo_core.data.readers import Quarantined, Tally, chunks_of, read_chunk
from dpo_core.data.sources import files_of
from dpo_core.data.text_files import Chunk
from dpo_core.errors import InputError
from dpo_core.judging.items import (
    AnswerRow,
    JudgedItem,
    JudgingMode,
    answers_of_row,
    has_answers,
    item_of_pair,
    items_of_answers,
)
from dpo_core.judging.lines import holds_judgements
from dpo_core.judging.lots import lot
from tasks.runtime.sources import local_source, version_of_source

log = logging.getLogger("dpo.judge")
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class JudgedSource:
    """A source as it was when it was opened. `stamp`: its files, their sizes and times, by which a change is seen."""

    name: str
    sha256: str
    items: dict[str, JudgedItem]
    left_out: list[Quarantined] = field(default_factory=list)
    rows: int = 0
    stamp: Stamp = ()
    paths: tuple[str, ...] = ()

    def changed(self) -> bool:
        """Whether its files are no longer those that were read."""
        return _stamp(self.paths) != self.stamp


def open_source(source: str, mode: JudgingMode, *, seed: int, home: Path) -> JudgedSource:
    """Read all of it. Raises InputError or InfraError where it cannot be used, or holds nothing to judge."""
    if holds_judgements(source):
        do = "name the file or data set that is judged; the judgements go on with --to"
        raise InputError("this is a file of judgements, not of answers", where=source, do=do)
    local = local_source(source, home)
    paths = () if is_hub_name(local) else tuple(map(str, files_of(local)))
    stamp = _stamp(paths)
    chunks = chunks_of(local)
    first = next(chunks, None)
    every = chain([first], chunks) if first is not None else iter(())
    answers = first is not None and any(not isinstance(r.row, BadRow) and has_answers(r.row) for r in first.rows())
    left_out: list[Quarantined] = []
    tally = Tally()
    made = _of_answers(every, mode, seed, left_out, tally) if answers else _of_pairs(every, mode, left_out, tally)
    items = {item.id: item for item in made}
    if not items:
        tally.require_pairs(source)
        raise _nothing(source, left_out)
    log.info("judging_opened source=%s items=%d left_out=%d", source, len(items), len(left_out))
    return JudgedSource(source, version_of_source(source), items, left_out, tally.rows, stamp, paths)


def _of_pairs(
    chunks: Iterator[Chunk], mode: JudgingMode, left_out: list[Quarantined], tally: Tally
) -> Iterator[JudgedItem]:
    for chunk in chunks:
        rows, seen = read_chunk(chunk, tally.first_good)
        tally.add(seen)
        for row in rows:
            if isinstance(row, Pair):
                try:
                    yield item_of_pair(row, mode)
                except BadRow as bad:
                    left_out.append(Quarantined(row.where, 0, str(bad), ""))
            else:
                left_out.append(row)


def _of_answers(
    chunks: Iterator[Chunk], mode: JudgingMode, seed: int, left_out: list[Quarantined], tally: Tally
) -> Iterator[JudgedItem]:
    groups: dict[str, list[AnswerRow]] = {}
    places: dict[str, str] = {}
    for raw in (raw for chunk in chunks for raw in chunk.rows()):
        tally.rows += 1
        try:
            if isinstance(raw.row, BadRow):
                raise raw.row
            row = answers_of_row(raw.row)
        except BadRow as bad:
            left_out.append(Quarantined(raw.where, raw.number, str(bad), raw.excerpt()))
            tally.reasons.add([str(bad)])
            tally.first_bad = tally.first_bad or left_out[-1]
            continue
        tally.pairs += 1
        key = prompt_digest(row.prompt)
        groups.setdefault(key, []).append(row)
        places.setdefault(key, raw.where)
    for key, rows in groups.items():
        draws = [lot(seed, "pairing", key, digest_json(answer)) for row in rows for answer in row.answers]
        try:
            yield from items_of_answers(rows, mode, draws)
        except BadRow as bad:
            left_out.append(Quarantined(places[key], 0, str(bad), ""))


def _nothing(source: str, left_out: list[Quarantined]) -> InputError:
    first = left_out[0]
    says = f"nothing in it can be judged; the first of {len(left_out)}: {first.reason}"
    do = "give it pairs, or two answers to a prompt; with --edit one will do, of one text"
    return InputError(says, where=first.where or source, do=do)


def _stamp(paths: tuple[str, ...]) -> Stamp:
    found = []
    for path in paths:
        try:
            about = os.stat(path)  # noqa: PTH116  a page asks often: no object a file
        except OSError:
            found.append((path, -1, -1))
        else:
            found.append((path, about.st_size, about.st_mtime_ns))
    return tuple(found)

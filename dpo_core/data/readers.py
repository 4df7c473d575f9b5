"""Rows of any source as pairs. A bad row is quarantined with its reason, a bad file is refused.

Whatever happens, rows = pairs + quarantined.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dpo_core.data.arrow_files import arrow_chunks, parquet_chunks
from dpo_core.data.checksums import require_promised
from dpo_core.data.hub import hub_chunks, is_hub_name
from dpo_core.data.messages import BadRow
from dpo_core.data.pairs import Pair
from dpo_core.data.reasons import Reasons, remedy_of
from dpo_core.data.shapes import format_of, read_columns, to_pair
from dpo_core.data.sources import digest_source, files_of
from dpo_core.data.text_files import Chunk, RawRow, text_chunks
from dpo_core.data.unread import UnreadColumns
from dpo_core.errors import InputError


@dataclass(frozen=True)
class Quarantined:
    """One row that cannot be used: where it is, its number in its file, why, and how it begins."""

    where: str
    line: int
    reason: str
    row: str


@dataclass
class Tally:
    """What was seen while rows were read. Tallies of later chunks can be added to it."""

    rows: int = 0
    pairs: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    unread: UnreadColumns = field(default_factory=UnreadColumns)
    reasons: Reasons = field(default_factory=Reasons)
    first_bad: Quarantined | None = None
    first_good: Pair | None = None

    def add(self, other: "Tally") -> None:
        """Take in what a later chunk showed."""
        self.rows += other.rows
        self.pairs += other.pairs
        self.formats += other.formats
        self.unread.add(other.unread)
        self.reasons.join(other.reasons)
        self.first_bad = self.first_bad or other.first_bad
        self.first_good = self.first_good or other.first_good

    @property
    def format(self) -> str:
        """The shapes that occurred, in words."""
        return " and ".join(sorted(self.formats))

    def require_pairs(self, source: str) -> None:
        """Raises InputError where nothing could be read."""
        if not self.rows:
            raise InputError("the file has no rows", where=source, do="check the export that wrote it")
        if self.pairs or self.first_bad is None:
            return
        reason = self.first_bad.reason
        kinds = list(self.reasons.counts)
        if len(kinds) == 1 and kinds[0].startswith("missing column"):
            says = f"every row lacks a column: {reason}"
        else:
            says = f"none of {self.rows} rows can be read; the first: {reason}"
        raise InputError(says, where=self.first_bad.where, do=remedy_of(reason))


@dataclass(frozen=True)
class ReadPairs:
    """A source's content: good rows, bad rows, and what was seen on the way."""

    pairs: list[Pair]
    quarantined: list[Quarantined]
    rows: int
    format: str
    sha256: str
    dropped_columns: dict[str, int] = field(default_factory=dict)


class RowStream:
    """The rows of a source, once, in order: a Pair or a Quarantined each. Afterwards `tally` and `sha256` are known.

    Iterating raises InputError where the source as a whole cannot be used.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        self.tally = Tally()
        self.sha256 = ""

    def __iter__(self) -> Iterator[Pair | Quarantined]:
        for chunk in chunks_of(self.source):
            rows, tally = read_chunk(chunk, self.tally.first_good)
            self.tally.add(tally)
            yield from rows
        self.tally.require_pairs(self.source)
        self.sha256 = digest_source(self.source)


def stream_rows(source: str | Path) -> RowStream:
    """Rows of a file, a folder, a glob or a data set of the hub, without holding them."""
    return RowStream(source)


def read_pairs(source: str | Path) -> ReadPairs:
    """Every row at once, for small sources. Raises InputError where the source as a whole cannot be used."""
    stream = stream_rows(source)
    rows = list(stream)
    pairs = [row for row in rows if isinstance(row, Pair)]
    quarantined = [row for row in rows if isinstance(row, Quarantined)]
    tally = stream.tally
    return ReadPairs(pairs, quarantined, tally.rows, tally.format, stream.sha256, tally.unread.counts())


def chunks_of(source: str) -> Iterator[Chunk]:
    """All rows of a source, in order. Raises InputError where it cannot be used as a whole."""
    if is_hub_name(source):
        yield from hub_chunks(source)
        return
    files = files_of(source)
    require_promised(files)
    for path in files:
        before = path.stat()
        yield from _file_chunks(path)
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise InputError("the file changed while it was read", where=str(path), do="read a copy that nobody writes")


def _file_chunks(path: Path) -> Iterator[Chunk]:
    if path.suffix == ".parquet":
        return parquet_chunks(path)
    return arrow_chunks(path) if path.suffix == ".arrow" else text_chunks(path)


def read_chunk(chunk: Chunk, first: Pair | None = None) -> tuple[list[Pair | Quarantined], Tally]:
    """The rows of a chunk. `first`: the source's first good pair; all must be text, or all messages, as it is."""
    rows: list[Pair | Quarantined] = []
    tally = Tally()
    for raw in chunk.rows():
        tally.rows += 1
        try:
            pair = _pair(raw, first or tally.first_good)
        except BadRow as bad:
            rows.append(Quarantined(raw.where, raw.number, str(bad), raw.excerpt()))
            tally.reasons.add([str(bad)])
            tally.first_bad = tally.first_bad or rows[-1]  # type: ignore[assignment]
            continue
        rows.append(pair)
        tally.pairs += 1
        tally.first_good = tally.first_good or pair
        tally.formats[format_of(raw.row)] += 1  # type: ignore[arg-type]
        tally.unread.see(raw.row, read_columns(raw.row))  # type: ignore[arg-type]
    tally.unread.add(chunk.unread)
    return rows, tally


def _pair(raw: RawRow, first: Pair | None) -> Pair:
    if isinstance(raw.row, BadRow):
        raise raw.row
    try:
        pair = to_pair(raw.row, raw.where)
        pair.id  # noqa: B018  made now: what cannot be digested cannot be a pair
    except RecursionError:
        raise BadRow("the row is nested too deeply") from None
    if first is not None and first.plain != pair.plain:
        kinds = ("plain text", "messages")
        mine, others = kinds if pair.plain else kinds[::-1]
        raise BadRow(f"the row is {mine}, but the rows before it are {others} (the first: {first.where})")
    return pair

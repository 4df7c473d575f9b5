"""Data sets of the Hugging Face hub, streamed: `ORG/NAME`, `ORG/NAME:SPLIT` or `ORG/NAME:CONFIG:SPLIT`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpo_core.data.arrow_files import as_json
from dpo_core.data.pairs import ROWS
from dpo_core.data.text_files import RawRow
from dpo_core.data.unread import UnreadColumns
from dpo_core.errors import InputError

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?::[\w.+-]+){0,2}")
FILE = re.compile(r"\.(?:jsonl?|ndjson|gz|zst|parquet|arrow|csv|tsv|txt|zip|tar|ya?ml)$")


@dataclass(frozen=True)
class ObjectChunk:
    """Rows that are objects already."""

    source: str
    first: int  # number of the first one
    objects: Sequence[dict[str, object]]
    unread: UnreadColumns = field(default_factory=UnreadColumns)

    def __len__(self) -> int:
        """See Chunk."""
        return len(self.objects)

    def rows(self) -> Iterator[RawRow]:
        """See Chunk."""
        for number, row in enumerate(self.objects, self.first):
            yield RawRow(f"{self.source}:row {number}", number, None, as_json(row))


def is_hub_name(source: str) -> bool:
    """Whether a source can only be a data set of the hub: two names, no such path here, no suffix of a file."""
    return bool(NAME.fullmatch(source)) and not FILE.search(source) and not Path(source).exists()


def hub_chunks(source: str) -> Iterator[ObjectChunk]:
    """The rows of one split (`train` unless named), as they arrive."""
    name, split, rows = _open(source)
    held: list[dict[str, object]] = []
    number = 0
    try:
        for row in rows:
            held.append(row)
            number += 1
            if len(held) == ROWS:
                yield ObjectChunk(f"{name}:{split}", number - len(held) + 1, held)
                held = []
    except (OSError, ValueError, TypeError) as error:
        raise _failed(source, error) from None
    if held:
        yield ObjectChunk(f"{name}:{split}", number - len(held) + 1, held)


def hub_revision(source: str) -> str:
    """The commit that the hub gives now: what names the data."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    name = source.partition(":")[0]
    try:
        return str(HfApi().dataset_info(name).sha)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise _failed(source, error) from None


def _open(source: str) -> tuple[str, str, Iterator[dict[str, object]]]:
    import datasets

    name, *rest = source.split(":")
    split = rest[-1] if rest else "train"
    config = rest[0] if len(rest) > 1 else None
    try:
        stream = datasets.load_dataset(name, config, split=split, streaming=True)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _failed(source, error) from None
    return name, split, iter(stream)


def _failed(source: str, error: Exception) -> InputError:
    reason = str(error).partition("\n")[0][:300] or type(error).__name__
    return InputError(
        f"the data set cannot be read: {reason}",
        where=source,
        do="check name, config and split; log in with HF_TOKEN; or if a file was meant, check its path",
    )

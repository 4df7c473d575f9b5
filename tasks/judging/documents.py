"""The documents of `dpo judge --json`: later versions add keys, and change none (docs/json.md)."""

from typing import Literal

from pydantic import Field

from dpo_core.evaluate.judges.people import PeopleReport
from dpo_core.records import Document, Record


class PeopleDocument(Document, PeopleReport):
    """`dpo judge report`: who judged, how far they agree, what is to be settled."""

    files: list[str] = Field(description="of judgements")
    items: int = Field(description="that somebody decided on")
    pairs_made: int = Field(description="pairs that `dpo judge export` would write")
    left_out: dict[str, int] = Field(description="items without a pair, by reason")


class JudgedExport(Document):
    """`dpo judge export`: what was written."""

    file: str
    format: Literal["pairs", "argilla", "label-studio"]
    rows: int = Field(description="pairs, records or tasks")
    left_out: dict[str, int] = Field(description="items that are not in it, by reason")


class UnreadRecord(Record):
    """A record that was not imported."""

    where: str = Field(description="file and number of the record")
    says: str = Field(description="what it lacks")


class JudgedImport(Document):
    """`dpo judge import`: what was added to a file of judgements, and what could not be read."""

    file: str
    records: int = Field(description="read")
    judgements: int = Field(description="added; those that the file held already are not added again")
    unread: list[UnreadRecord] = Field(description="records that were left out")

"""What the page asks and is sent, and the documents of `dpo judge --json`."""

from typing import Literal

from pydantic import Field

from dpo_core.evaluate.judges.people import PeopleReport
from dpo_core.judging.lines import NOTE_LIMIT
from dpo_core.records import Document, Record

ShownChoice = Literal["left", "right", "tie", "bad", "skip", "edit", "fine"]
View = Literal["judge", "skipped", "settle"]
NAME_LIMIT, TEXT_LIMIT = 60, 256 << 10


class PageRequest(Record):
    """What the page sends, whichever way it asks; what a way has no use for stays as it is."""

    name: str = Field("", max_length=NAME_LIMIT)
    session: str = Field("", max_length=64)
    sure: bool = False
    view: View = "judge"
    item: str = Field("", max_length=64)
    choice: ShownChoice = "skip"
    note: str = Field("", max_length=NOTE_LIMIT)
    text: str = Field("", max_length=TEXT_LIMIT)
    seconds: float = Field(0.0, ge=0, le=1e6)


class ShownMessage(Record):
    """A turn as it is shown."""

    role: str
    text: str


class ShownItem(Record):
    """An item without a word of where its answers came from; `right` is empty where one is edited."""

    id: str
    prompt: list[ShownMessage]
    left: list[ShownMessage]
    right: list[ShownMessage]
    tools: str = ""


class Remark(Record):
    """What somebody said of an item that people disagree on, or oneself before one took it back."""

    by: str
    choice: ShownChoice
    note: str
    text: str = ""


class Progress(Record):
    """Of this person, and of all."""

    done: int = Field(description="items that this person decided on")
    left: int = Field(description="items that wait for this person")
    skipped: int = Field(description="items that this person skipped")
    complete: int = Field(description="items that as many people decided on as should")
    items: int = Field(description="all")


class JudgingPage(Record):
    """What the page shows next. `item`: null where nothing waits in this view."""

    view: View
    item: ShownItem | None
    said: list[Remark] = Field([], description="to settle: what people said")
    former: Remark | None = Field(None, description="what this person had said before it was taken back")
    progress: Progress
    disagreements: int
    notices: list[str]


class Welcome(Record):
    """The answer to a name. `question`: in_use or known: whether it is the same person; then nothing began."""

    name: str
    mode: Literal["compare", "edit"]
    source: str
    question: Literal["", "in_use", "known"] = ""
    says: str = ""


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

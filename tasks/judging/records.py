"""What the page asks and what it is sent."""

from typing import Literal

from pydantic import Field

from dpo_core.judging.lines import NOTE_LIMIT
from dpo_core.records import Record

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


class Voice(Record):
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
    said: list[Voice] = Field([], description="to settle: what people said")
    former: Voice | None = Field(None, description="what this person had said before it was taken back")
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

"""The entries of a run's journal, one kind a class: each is a line of JSON, the same since the first version."""

import json
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

EndStatus: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    def to_line(self) -> str:
        """The entry as a line of the journal. Raises ValueError for NaN and infinity."""
        return f"{json.dumps(self.model_dump(), ensure_ascii=False, allow_nan=False)}\n"


class OpenedEntry(_Entry):
    """The run as MLflow at `server` knew it: the last step of each metric, and the tags. Not sent."""

    kind: Literal["opened"] = "opened"
    time: int  # ms since 1970, as in all of them
    server: str
    steps: dict[str, int]
    tags: dict[str, str]


class ParamsEntry(_Entry):
    """Params, which MLflow takes once."""

    kind: Literal["params"] = "params"
    time: int
    values: dict[str, str]


class TagsEntry(_Entry):
    """Tags, each replacing an older value."""

    kind: Literal["tags"] = "tags"
    time: int
    values: dict[str, str]


class MetricsEntry(_Entry):
    """One finite value per name, at one optimizer step."""

    kind: Literal["metrics"] = "metrics"
    time: int
    values: dict[str, float]
    step: int


class ArtifactEntry(_Entry):
    """A file whose copy lies beside the journal; `folder` of the run's artifacts, empty for their root."""

    kind: Literal["artifact"] = "artifact"
    time: int
    sha256: str
    name: str
    folder: str


class DatasetEntry(_Entry):
    """A data set of the run: the fields of MLflow's Dataset, and the tags of the link."""

    kind: Literal["dataset"] = "dataset"
    time: int
    values: dict[str, str]
    tags: dict[str, str]


class StatusEntry(_Entry):
    """The run goes on, or ends."""

    kind: Literal["status"] = "status"
    time: int
    status: Literal["RUNNING"] | EndStatus

    @property
    def is_end(self) -> bool:
        """Whether the run ends with it."""
        return self.status != "RUNNING"


JournalEntry: TypeAlias = (
    OpenedEntry | ParamsEntry | TagsEntry | MetricsEntry | ArtifactEntry | DatasetEntry | StatusEntry
)
_ENTRY: TypeAdapter[JournalEntry] = TypeAdapter(Annotated[JournalEntry, Field(discriminator="kind")])


def parse(line: bytes) -> JournalEntry | None:
    """The entry of a line; None where the line is no entry."""
    try:
        return _ENTRY.validate_python(json.loads(line))
    except ValueError:
        return None

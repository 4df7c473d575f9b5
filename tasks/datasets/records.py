"""The documents of `dpo data --json`: later versions add keys, and change none (docs/json.md)."""

from typing import Any

from pydantic import Field

from dpo_core.records import Document, Record
from infra.datasets.manifest import DatasetVersion


class DatasetLine(Record):
    """One version of a data set, in a list."""

    name: str = Field(description="of the data set")
    version: int = Field(description="its number; in a list of data sets the latest")
    versions: int = Field(description="how many complete versions the data set has")
    rows: int = Field(description="pairs")
    created: str = Field(description="ISO 8601, UTC")
    user: str = Field(description="login name of who made it")
    how: str = Field(description="add, mix, curate")
    sha256: str = Field(description="of the rows")
    licences: list[str] = Field(description="of all sources; '' among them: one is not stated")


class DatasetListing(Document):
    """`dpo data ls`: the latest version of each data set, or every version of one."""

    store: str = Field(description="folder or s3://bucket/prefix")
    datasets: list[DatasetLine] = Field(description="by name; of one data set by number")


class TrainedModel(Record):
    """A version of a registered model that was trained on rows."""

    model: str = Field(description="registered model")
    version: int = Field(description="of it")
    data: str = Field(
        description="what its recipe trained on: dataset:NAME@VERSION, or a file that a version was made of"
    )
    through: str = Field("", description="it started from this model, which was trained on them; empty: itself")


class ShownRow(Record):
    """A row, with the ids by which it can be forgotten."""

    row: str = Field(description="id of the row")
    prompt_id: str = Field(description="id of its prompt")
    source: str = Field(description="as the row says")
    pair: dict[str, Any] = Field(description="prompt, chosen, rejected: messages")


class DatasetShown(Document):
    """`dpo data show NAME[@VERSION]`: the record of a version, its first rows, and who was trained on it."""

    version: DatasetVersion = Field(description="as it was recorded when it was made")
    latest: int = Field(description="number of the latest version of this name")
    forgotten_since: int = Field(description="rows of it that were forgotten since: they are left out where it is read")
    models: list[TrainedModel] | None = Field(description="trained on it; null: the registry does not answer")
    first: list[ShownRow] = Field(description="the first rows that are left")


class DatasetWritten(Document):
    """`dpo data add` and `dpo data mix`: the version that holds the rows now."""

    version: DatasetVersion = Field(description="its record")
    new: bool = Field(description="false: a version of that name held the same rows already, and it is this one")
    latest: int = Field(description="number of the latest version of this name")


class DatasetExported(Document):
    """`dpo data export NAME[@VERSION] FILE.jsonl`: the file that holds the rows of a version now."""

    dataset: str = Field(description="dataset:NAME@VERSION")
    file: str = Field(description="as it was named")
    rows: int = Field(description="pairs in it")
    forgotten: int = Field(description="rows of the version that were forgotten since: they are not in it")
    size: int = Field(description="bytes")
    sha256: str = Field(description="of the file; where nothing was forgotten that of the version's rows")


class NumberMove(Record):
    """A number in both versions."""

    name: str = Field(description="of what it is the number")
    before: float = Field(description="in the first version")
    after: float = Field(description="in the second")


class DatasetDiff(Document):
    """`dpo data diff A B`: what came, what went, and what moved."""

    before: str = Field(description="the first version")
    after: str = Field(description="the second")
    rows: NumberMove = Field(description="pairs")
    rows_new: int = Field(description="rows whose id only the second has")
    rows_gone: int = Field(description="rows whose id only the first has")
    rows_same: int = Field(description="rows whose id both have")
    prompts: NumberMove = Field(description="different prompts")
    prompts_new: int = Field(description="prompts that only the second has")
    prompts_gone: int = Field(description="prompts that only the first has")
    prompts_changed: int = Field(description="prompts of both whose rows are not the same")
    sources: list[NumberMove] = Field(description="rows by what they say of their source, where the numbers differ")
    lengths: list[NumberMove] = Field(description="median words, and the share of pairs whose longer answer is chosen")
    words: list[NumberMove] = Field(description="share of pairs whose chosen answer has the word: what moved most")
    says: list[str] = Field(description="the same in sentences")


class RowsHeld(Record):
    """A version that holds what is forgotten."""

    dataset: str = Field(description="dataset:NAME@VERSION")
    rows: int = Field(description="how many rows of it")


class ForgottenDocument(Document):
    """`dpo data forget ID`: what is left out from now on, which versions hold it, and who was trained on it."""

    asked: str = Field(description="the id as it was given")
    kind: str = Field(description="row, prompt, words, row_id, or unknown: no version holds it")
    ids: list[str] = Field(description="what is on record, SHA-256 each")
    new: bool = Field(description="false: all of it was on record already")
    held_by: list[RowsHeld] = Field(description="versions that hold it: they stay, and are read without it")
    kept_in: list[str] = Field(
        description="folders of the store with its words: rows of these versions, and rows of runs"
    )
    deleted_here: list[str] = Field(description="copies of these versions on this machine: deleted")
    models: list[TrainedModel] | None = Field(description="trained on it; null: the registry does not answer")

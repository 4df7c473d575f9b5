"""What is recorded of a version of a data set. Keys of later versions of this program are kept."""

from pydantic import BaseModel, ConfigDict, Field

from infra.datasets.names import DatasetRef


class ManifestPart(BaseModel):
    """A part of the record."""

    model_config = ConfigDict(frozen=True, extra="allow")


class DatasetSource(ManifestPart):
    """Where rows came from."""

    source: str = Field(description="file, address, data set of the hub or of the store, or how they were made")
    rows: int = Field(description="of the version that came from it")
    sha256: str = Field("", description="of the source as it was then; empty where it has none")
    licence: str = Field("", description="of its rows: SPDX names, joined by AND; empty: not stated")


class DatasetParent(ManifestPart):
    """A version that rows were taken from."""

    name: str = Field(description="of the data set")
    number: int = Field(description="of its version")
    sha256: str = Field(description="of its rows")


class MadeBy(ManifestPart):
    """Who or what made a version."""

    user: str = Field("", description="login name of who ran the command")
    how: str = Field("", description="add, mix, curate")
    way: str = Field("", description="of a curation: correction, rewards, feedback")
    curation_sha256: str = Field("", description="of the curation's recipe and inputs")
    run_id: str = Field("", description="the MLflow run that made it")
    commit: str = Field("", description="of the recipe's repository")


class DatasetVersion(ManifestPart):
    """One immutable version: its rows are the object named by `sha256`."""

    format: int = 1
    name: str = Field(description="of the data set")
    number: int = Field(description="of the version, from 1")
    created: str = Field(description="ISO 8601, UTC")
    made_by: MadeBy = Field(description="who or what made it")
    rows: int = Field(description="pairs")
    size: int = Field(description="bytes of the rows")
    sha256: str = Field(description="of the rows as they are stored")
    sources: tuple[DatasetSource, ...] = Field((), description="where the rows came from")
    parents: tuple[DatasetParent, ...] = Field((), description="versions mixed or curated from")
    licences: tuple[str, ...] = Field((), description="of all sources and parents; '' among them: one is not stated")
    by_source: dict[str, int] = Field({}, description="rows by what they say of their source; '': nothing")
    unreadable: int = Field(0, description="rows of the sources that could not be read as pairs")
    forgotten: int = Field(0, description="rows of the sources that were left out as forgotten")
    repeated: int = Field(0, description="rows of a mix that an earlier source had too: taken once")
    notes: str = Field("", description="of who made it")

    @property
    def ref(self) -> str:
        """`dataset:NAME@NUMBER`."""
        return str(DatasetRef(self.name, self.number))

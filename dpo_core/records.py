"""Plain data that one part hands to another, and the documents that commands print: pydantic models, frozen."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Frozen; unknown keys are refused. Its JSON holds NaN where a number is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")


class Document(Record):
    """One document of `--json`. Later versions add keys and change none; `schema` grows if one ever has to."""

    schema_version: Literal[1] = Field(1, alias="schema", description="version of the document")

    def to_json(self) -> dict[str, object]:
        """The document as plain data."""
        return self.model_dump(mode="json", by_alias=True)

"""What the seeds of a run came to."""

from pydantic import Field

from dpo_core.records import Record
from tasks.records import Evaluated, Trained


class SeedModel(Record):
    """A model of one seed, trained and evaluated."""

    seed: int
    trained: Trained
    evaluated: Evaluated


class DivergedSeed(Record):
    """A seed whose training came to no model: what, where, and what to do, as the training said it."""

    seed: int
    says: str
    where: str
    do: str


class SeedLine(Record):
    """One of several seeds."""

    seed: int = Field(description="of data order and adapters")
    weights_sha256: str = Field(description="of its weights; empty where it diverged")
    metrics: dict[str, float] = Field(description="those that the gate names")
    chosen: bool = Field(description="the middle one, which was gated")
    diverged: str = Field("", description="what its training ended with, where it diverged; else empty")


class SpreadLine(Record):
    """One metric over seeds."""

    low: float = Field(description="least")
    median: float = Field(description="middle")
    high: float = Field(description="most")
    deviation: float = Field(description="standard deviation")

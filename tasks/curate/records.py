"""What the tasks of a curation hand to each other: small plain records. Prompts, answers and pairs are in the store."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from dpo_core.curate.curation import Curation
from dpo_core.curate.curves import RoundFacts
from dpo_core.recipe import Recipe
from dpo_core.records import Record
from dpo_core.rewards.reward_file import EndpointModel, Spending
from tasks.records import CheckResult, Stage


class Reach(Record):
    """How the models that a recipe names are reached, and what that may cost (`scope`: all runs of which together)."""

    endpoints: Mapping[str, EndpointModel]
    budget: Spending
    scope: str
    seed: int
    threads: int


class CurationPlan(Record):
    """A curation's inputs, resolved: what every later task takes."""

    curation: Curation
    folder: str = Field(description="of the recipe: functions of the user's own are meant from it")
    sources: dict[str, str] = Field(description="SHA-256 of each source of prompts, and of each file that is kept out")
    content: dict[str, Any] = Field(description="the recipe with digests in place of paths and models")
    model: str = Field(description="who answers, by a name that does not move; endpoint:NAME")
    model_folder: str = Field("", description="on this machine; empty: behind an endpoint")
    model_sha256: str = Field("", description="weights and configuration")
    tokenizer_sha256: str = ""
    trusted_code: str | None = None
    run: Recipe | None = Field(None, description="the run that trains on the pairs, where the recipe names it")
    kept_out: dict[str, str] = Field({}, description="digests of what that run keeps out")
    threads: int
    force: bool
    run_id: str
    run_url: str

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.curation.name

    @property
    def reach(self) -> Reach:
        """Of the models that it names."""
        curation = self.curation
        return Reach(
            endpoints=curation.endpoints,
            budget=curation.budget,
            scope=curation.name,
            seed=curation.seed,
            threads=self.threads,
        )


class GatherOutput(Record):
    """The prompts of a curation, and what was left out."""

    key: str = Field(description="of the prompts in the store, JSON lines")
    prompts: int
    by_source: dict[str, int] = Field(description="prompts by where they came from")
    left_out: dict[str, int] = Field(description="prompts that were not taken, by reason")


class Gathered(GatherOutput):
    """The prompts of this run."""

    stage: Stage


class AnswerOutput(Record):
    """What was asked and what came."""

    path: dict[str, Any] = Field(description="all that decides a text: names the answers in the store")
    sha256: str = Field(description="of the answers")
    answers: int
    refused: dict[str, str] = Field(description="digest of a prompt: why it has no answer")
    pilot: str = Field("", description="what the pilot promised, in words")


class Answered(AnswerOutput):
    """The answers of this run. `drawn`: those that were not stored before."""

    drawn: int
    stage: Stage


class PairOutput(Record):
    """The pairs that were made, before they are checked."""

    key: str = Field(description="of the pairs in the store, JSON lines in the order of the prompts")
    pairs: int
    new: int = Field(description="of them, those that the latest version does not hold")
    dropped: dict[str, int] = Field(description="prompts or answers without a pair, by reason")
    notes: list[str] = Field(description="what to know of the choice, in words")
    facts: RoundFacts | None = Field(None, description="of scored answers: what is watched over rounds")
    changes: dict[str, float] = Field({}, description="of corrections: quantiles of the share of words changed")
    judges: dict[str, Any] = Field({}, description="judge: its report against people's labels")
    refused: int = Field(0, description="questions to judges and correctors that an endpoint refused")
    answers: str = Field(
        "", description="folder of the answers in the store that they were made of: it lives with this"
    )
    trace_ids: list[str] = Field([], description="traces that the pairs were made of")
    judged: int = Field(0, description="answers that people judged on a page")


class Paired(PairOutput):
    """The pairs of this run."""

    stage: Stage


class PairsCheckOutput(CheckResult):
    """The data check of the new pairs."""

    reports_key: str
    rows_key: str = Field(description="of the pairs that passed, in the store")


class PairsChecked(PairsCheckOutput):
    """The check of this run."""

    report: str = Field(description="the page, on this machine")
    stage: Stage


class ShelvedVersion(Record):
    """The version of the data set that holds the pairs."""

    ref: str = Field(description="dataset:NAME@NUMBER")
    number: int
    rows: int
    sha256: str
    new: bool = Field(description="false: this version held exactly these pairs already")

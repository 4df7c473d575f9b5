"""The document of `dpo tune --json`."""

from typing import Literal

from pydantic import Field

from dpo_core.records import Document, Record

Value = bool | int | float | str


class RungLine(Record):
    """One training of a trial."""

    eighths: int = Field(description="of the pairs, epochs counted: 1, 2, 4 or 8")
    seed: int = Field(description="its seed")
    pairs: int = Field(description="trained on")
    seconds: float = Field(description="of wall time, judging included; of a look-up what the look-up took")
    forwards: int = Field(description="answers that the reference was asked for")
    metrics: dict[str, float] = Field(
        description="on the tuning split, against the start model; margins in nats; empty where it diverged"
    )
    judged: str = Field(description="key in the store of the pairs that the figures are of")


class TrialLine(Record):
    """One set of settings that was tried."""

    number: int = Field(description="0: the recipe's own")
    settings: dict[str, Value] = Field(description="dotted key: value")
    state: Literal["finished", "pruned", "running"] = Field(
        description="finished: it saw all pairs; running: the budget ended before"
    )
    value: float | None = Field(description="objective of the highest rung, mean over seeds")
    reason: str = Field(description="why it was pruned or waits, or which limit it breaks; else empty")
    around: float | None = Field(description="objective of what was tried near it; of finished trials that hold")
    rungs: list[RungLine] = Field(description="its trainings")


class TuneDocument(Document):
    """`dpo tune`: what was tried, and which settings are recommended."""

    state: Literal["better", "own_settings", "none_holds"] = Field(
        description="own_settings: nothing is better by more than luck, that of seeds and of the prompts drawn; "
        "none_holds: exit code 4"
    )
    model: str = Field(description="the recipe's name")
    study: str = Field(description="of the database")
    objective: str = Field(description="what was to be large")
    recommended: int | None = Field(description="a trial's number")
    peak: int | None = Field(description="the trial that measured best by itself")
    settings: dict[str, Value] = Field(description="of the recommended trial")
    spread: float | None = Field(
        description="of the objective between seeds, as a standard deviation; null: none was trained with two"
    )
    gain_half_width: float | None = Field(
        description="of the interval of 95 % of the gain over the recipe's own settings, by the draw of the tuning "
        "split's prompts, alike ones counted once; null: nothing is better, or they do not hold"
    )
    importance: dict[str, float] = Field(description="key: share of what moved the objective; empty: too few trials")
    trials: list[TrialLine] = Field(description="in order")
    spent: dict[str, float] = Field(description="trials, pairs, minutes")
    split: dict[str, int] = Field(description="pairs trained_on, judged_on, and the prompts of these")
    limits: dict[str, list[float | None]] = Field(description="what must hold: least and most")
    space: dict[str, list[Value]] = Field(description="key: least and most, or the choices")
    recipe: str = Field(description="YAML of the recommended settings, on this machine; empty where there are none")
    report: str = Field(description="the page, on this machine")
    mlflow_run_id: str = Field(description="the MLflow run; trials are nested in it")

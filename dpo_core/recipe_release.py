"""The part of a recipe that decides what becomes of a trained model: what it is compared with, the gate, who agrees."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Alpha = Annotated[float, Field(gt=0, lt=0.5)]
Preference = Annotated[float, Field(gt=0.5, lt=1)]


SLICES = ("source", "language", "length", "category")  # kinds of parts of the held-out pairs
OF_SLICE = re.compile(rf"rewards/accuracies\[(?:{'|'.join(SLICES)})=.+\]")
WIN_RATE, ANSWER_REWARD = "answers/win_rate", "answers/reward"  # of evaluation.rewards
EQUAL_LENGTH = "answers/win_rate_equal_length"
OF_REWARDS = (WIN_RATE, EQUAL_LENGTH, ANSWER_REWARD)
ANSWERED, VARIED, LANGUAGE = "generations/answered", "generations/varied", "generations/language"
OF_ANSWERS = ("generations/sound", ANSWERED, VARIED, LANGUAGE)  # of all generated answers
LENGTH, BREVITY = "generations/length", "generations/brevity"  # words by the baseline's words, and minus that
LM_EVAL = "lm_eval/"  # how the metrics of evaluation.lm_eval begin
KEEP = "metric: how much worse it may be at most, its own unit; more must be ruled out"


class Section(BaseModel):
    """Base of every part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Gate(Section):
    """When a challenger replaces the champion (or, the first time, the reference model).

    Metrics are `rewards/accuracies` (also of a part of the pairs: `rewards/accuracies[language=de]`, or source, length,
    category), `rewards/margins`, `behaviour/NAME`, `retention/NAME`, `retention/neutral_text` (minus nats per token, so
    that more is better everywhere), `generations/sound` (share of all generated answers that are not empty, do not
    repeat themselves, are in the language of their question, and end where the baseline's ended early),
    `generations/answered`, `varied`, `language`, `length` and `brevity` (docs/evaluation.md). With
    `evaluation.rewards` also `answers/win_rate` (share of held-out prompts whose answer is better than the baseline's,
    a tie one half), the same of prompts chosen so that length decides none of it (`answers/win_rate_equal_length`),
    `answers/reward` (its mean); with `evaluation.lm_eval` `lm_eval/TASK`, the mean of a task's documents.
    """

    improve: list[str] | dict[str, Amount] = Field(
        ["rewards/accuracies"],
        description="metrics that must be better, beyond chance: a list, or metric: by more than this, its own unit",
    )
    keep: dict[str, Amount] = Field({}, description=KEEP)
    floor: dict[str, Finite] = Field({}, description="metric: the least that the challenger must be shown to reach")
    uptake: Preference | None = Field(
        None,
        description="largest chance to prefer an answer for a shortcut of the data alone, 0.5: none; more must be "
        "ruled out, of every shortcut that was not declared",
    )
    alpha: Alpha = Field(0.05, description="one-sided error of each test")
    alpha_year: Alpha = Field(
        0.10, description="chance that a year of looks (52, or more if taken) promotes one that is no better"
    )
    min_items: int = Field(
        20, ge=1, description="fewest different prompts that a metric above may be measured on: below, hold"
    )
    anchor: int | None = Field(
        None, ge=1, description="version that kept metrics are compared with too; unset: the first that was promoted"
    )

    @field_validator("improve", mode="before")
    @classmethod
    def _metrics_or_gains(cls, metrics: object) -> object:
        if isinstance(metrics, list) and all(isinstance(metric, str) for metric in metrics):
            if twice := [metric for metric in metrics if metrics.count(metric) > 1]:
                raise ValueError(f"{twice[0]} stands twice: name each metric once")
            return metrics
        gains: list[Any] = list(metrics.values()) if isinstance(metrics, dict) else [None]
        if not all(type(gain) in (int, float) and 0 <= gain < math.inf for gain in gains):
            raise ValueError(
                "write a list of metrics, improve: [one, two], or the gain that each must exceed, 0 or more: "
                "improve: {one: 0.02}"
            )
        return metrics

    @property
    def gains(self) -> dict[str, float]:
        """`improve` as metric: what its gain must exceed; a plain list asks for any gain."""
        return self.improve if isinstance(self.improve, dict) else dict.fromkeys(self.improve, 0.0)

    @model_validator(mode="after")
    def _can_be_met(self) -> "Gate":
        if not (self.improve or self.keep or self.floor):
            raise ValueError("no metric is named, so nothing could be promoted: name one in improve, keep or floor")
        for rule, asked in (("improve", self.gains), ("keep", self.keep), ("floor", self.floor)):
            for metric, amount in asked.items():
                if metric == EQUAL_LENGTH and rule == "keep":
                    raise ValueError(
                        f"keep of {metric}: lengths are held equal to the baseline's alone, which has one half; ask "
                        f"for floor: {{{metric}: {0.5 - amount:g}}}"
                    )
                if is_share(metric) and amount >= 1:
                    vain = "allows any loss" if rule == "keep" else "can never be shown"
                    raise ValueError(
                        f"{rule} of {metric}: {amount:g} {vain}, for this metric is a share; 2 points are 0.02, and "
                        "less than 1 is asked for here"
                    )
        return self


class RecipeGate(Gate):
    """The gate of a recipe: one that does not say what is to be kept keeps answers that are language."""

    keep: dict[str, Amount] = Field({"generations/sound": 0.15}, description=KEEP)


def is_share(metric: str) -> bool:
    """Whether a metric of ours lies between 0 and 1: a share of pairs, or of right answers."""
    suites = metric.startswith(("behaviour/", "retention/")) and metric != "retention/neutral_text"
    other = metric in (*OF_ANSWERS, WIN_RATE, EQUAL_LENGTH) or metric.startswith(("rewards/accuracies", "uptake/"))
    return suites or other


class Retrain(Section):
    """Where a run of a model that has versions starts, and what it is compared with."""

    start: Literal["base", "champion"] = Field(
        "base",
        description="base: `model`, on all pairs; champion: the version in use (`model` while there is none), on pairs "
        "new to it",
    )
    replay: Fraction = Field(
        0.1, description="start: champion: share of the earlier pairs that is trained on again, by lot"
    )
    against: Literal["champion", "base"] | int = Field(
        "champion",
        description="what the gate compares with: the version in use (the base model while there is none), "
        "the base model, or a version by its number; a run promotes nothing over a champion that it was not compared "
        "with",
    )
    looks: int = Field(
        52, ge=1, description="candidates a year that are gated on the same held-out items: more are held"
    )


class Registry(Section):
    """What is kept of the versions that nobody needs any more."""

    keep: int | None = Field(
        None,
        ge=1,
        description="how many of the newest versions that are not in use keep their weights; unset: all of them",
    )


class Promotion(Section):
    """Who has to agree before a version that passed the gate becomes champion."""

    approval: Literal["auto", "required"] = Field(
        "auto", description="auto: the gate's verdict is enough; required: the version waits for `dpo approve`"
    )
    approval_expires_days: float = Field(7.0, gt=0, le=365, description="how long a version waits, in days")
    production: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="registered model that each champion is copied to, where it has the alias champion too",
    )

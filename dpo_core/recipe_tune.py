"""The part of a recipe that says how `dpo tune` searches: what is tried, within which budget, and what must hold."""

import difflib
from collections.abc import Collection
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dpo_core.recipe_release import Amount, Gate, Section

WHOLE = ("training.train_batch_size", "training.lora.r", "training.lora.lora_alpha")  # keys that hold whole numbers
TUNABLE = (
    *("training.learning_rate", "training.beta", "training.num_train_epochs", "training.sft_weight"),
    *("training.warmup_ratio", "training.max_grad_norm", "training.loss", "training.label_smoothing"),
    *("training.discopop_tau", "training.simpo_gamma", "training.f_alpha_divergence_coef", "training.ld_alpha"),
    *("training.use_weighting", "training.freeze_embeddings", *WHOLE),
)
BUDGET = {"minutes", "pairs", "trials"}  # keys of `tune` that may be larger when a search goes on
DRIFT, LENGTH, NEUTRAL_TEXT = "drift", "length", "retention/neutral_text"


class Span(Section):
    """Numbers from `low` to `high`."""

    low: float = Field(allow_inf_nan=False, description="smallest")
    high: float = Field(allow_inf_nan=False, description="largest")
    log: bool | None = Field(None, description="evenly spread in its logarithm; unset: where high is ten times low")

    @model_validator(mode="after")
    def _is_a_range(self) -> "Span":
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true asks for a low above 0, got {self.low:g}")
        return self

    @property
    def logarithmic(self) -> bool:
        """Whether steps are factors."""
        return self.low > 0 and self.high >= 10 * self.low if self.log is None else self.log


class Tune(Section):
    """A search for better settings of `training`. Nothing here changes a run of `dpo retrain`."""

    study: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name of the search; unset: the model's"
    )
    minutes: float | None = Field(None, gt=0, description="budget: minutes of work, over all tries; with no budget 60")
    pairs: int | None = Field(None, ge=1, description="budget: pairs trained on, over all trials")
    trials: int | None = Field(None, ge=1, description="budget: settings tried, the recipe's own among them")
    objective: Literal["preference", "rewards/accuracies", "rewards/margins"] = Field(
        "preference",
        description="what is to be large on the tuning split. preference: mean chance that the chosen answer is "
        "preferred, sigmoid(0.1 * margin); margins in nats, without the trial's beta",
    )
    space: dict[str, Span | list[Any]] | None = Field(
        None, description="key of training: {low, high}, or a list of values; unset: by the kind of run"
    )
    constraints: dict[str, Amount | list[Amount]] | None = Field(
        None,
        description="drift: most nats a token that chosen answers may lose; length: [least, most] ratio of words to "
        "the start model's or the chosen answers; a suite, or retention/neutral_text: most that it may lose; unset: "
        "drift 0.5, length [0.5, 2], and gate.keep but for what gate.improve names",
    )
    share: float = Field(0.15, gt=0, le=0.5, description="of the training prompts: the tuning split, never trained on")
    seeds: int = Field(2, ge=1, description="seeds of a trial that reaches the last rung")
    answers: int = Field(32, ge=0, description="tuning prompts answered, for their length")

    @field_validator("space")
    @classmethod
    def _can_be_searched(cls, space: dict[str, Span | list[object]] | None) -> dict[str, Span | list[object]] | None:
        if space == {}:
            raise ValueError("the space is empty: name a key, training.learning_rate: {low: 1e-6, high: 1e-5}, or none")
        for key, values in (space or {}).items():
            if key not in TUNABLE:
                near = difflib.get_close_matches(key, TUNABLE, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TUNABLE)}"
                raise ValueError(f"no search over {key!r}: {hint}")
            if isinstance(values, list) and len({repr(value) for value in values}) < 2:
                raise ValueError(f"{key}: one value is no choice: write two or more, or set it in training itself")
            if isinstance(values, list) and not all(isinstance(value, str | int | float) for value in values):
                raise ValueError(f"{key}: a choice is a number, a word, true or false")
        return space

    @field_validator("constraints")
    @classmethod
    def _can_hold(cls, asked: dict[str, float | list[float]] | None) -> dict[str, float | list[float]] | None:
        for name, limit in (asked or {}).items():
            if name != LENGTH and isinstance(limit, list):
                raise ValueError(f"{name}: write one number, the most that it may lose")
            if name == LENGTH and not (isinstance(limit, list) and len(limit) == 2):
                raise ValueError("length: write the least and the most ratio of words: [0.5, 2]")
            if name == LENGTH and isinstance(limit, list) and limit[0] >= limit[1]:
                raise ValueError(f"length: no ratio is at least {limit[0]:g} and at most {limit[1]:g}")
        return asked

    @property
    def budget_minutes(self) -> float | None:
        """The limit of time, if there is one."""
        return 60.0 if self.minutes is None and self.pairs is None and self.trials is None else self.minutes

    def limits(self, gate: Gate, asked_of: Collection[str]) -> dict[str, list[float]]:
        """What each trial must hold: its least and its most; `asked_of`: suites, and retention/neutral_text if there.

        Raises ValueError for what cannot go with the gate.
        """
        kept = {name: loss for name, loss in gate.keep.items() if name in asked_of}
        asked = self.constraints
        if asked is None:  # what the gate looks for a gain of cannot be asked in a search, kept or not
            unseen = {name: loss for name, loss in kept.items() if name not in gate.gains}
            asked = {DRIFT: 0.5, LENGTH: [0.5, 2.0], **unseen}
        for name, limit in asked.items():
            if name in gate.gains:
                raise ValueError(
                    f"tune.constraints: the gate looks for a gain of {name}: a search that looks at it spends its worth"
                )
            if name not in (DRIFT, LENGTH, *asked_of):
                known = ", ".join([DRIFT, LENGTH, *asked_of])
                raise ValueError(f"tune.constraints: there is no {name!r}; there are {known}")
            if isinstance(limit, float | int) and limit > kept.get(name, limit):
                more = f"{name} may lose {limit:g} here and {kept[name]:g} in gate.keep"
                raise ValueError(f"tune.constraints: {more}: the search would find what the gate refuses")
        return {name: limit if isinstance(limit, list) else [float("-inf"), limit] for name, limit in asked.items()}

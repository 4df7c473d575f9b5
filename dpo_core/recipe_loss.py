"""The part of a training recipe that says what is minimised: one loss or a mixture of them, and their options.

Which options a loss has stands here, without torch; the losses themselves are `dpo_core.losses`.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dpo_core.recipe_release import Section

SMOOTHED, WEIGHTED, LENGTHS = "label_smoothing", "use_weighting", "ld_alpha"
DIVERGENCE, COEFFICIENT = "f_divergence_type", "f_alpha_divergence_coef"
OF_DIFFERENCE = (DIVERGENCE, COEFFICIENT, WEIGHTED, LENGTHS)  # what a function of the difference of scores takes
OF_REWARDS = (WEIGHTED, LENGTHS)
OPTIONS: Mapping[str, tuple[str, ...]] = {  # loss: the keys of training that act on it, beside beta and sft_weight
    "sigmoid": (SMOOTHED, *OF_DIFFERENCE),
    "sigmoid_norm": (SMOOTHED, *OF_DIFFERENCE),
    "hinge": OF_DIFFERENCE,
    "ipo": OF_DIFFERENCE,
    "robust": (SMOOTHED, *OF_DIFFERENCE),
    "exo_pair": (SMOOTHED, *OF_DIFFERENCE),
    "discopop": ("discopop_tau", *OF_DIFFERENCE),
    "nca_pair": OF_REWARDS,
    "bco_pair": ("bco_delta", *OF_REWARDS),
    "sppo_hard": OF_REWARDS,
    "apo_zero": OF_REWARDS,
    "apo_down": OF_REWARDS,
    "aot": (SMOOTHED, LENGTHS),
    "simpo": (SMOOTHED, "simpo_gamma", WEIGHTED),
    "orpo": (WEIGHTED,),
}
WITHOUT_REFERENCE = ("simpo", "orpo")
OF_THE_BATCH = ("aot",)  # no sum over pairs: a pair's term depends on the other pairs of its step
FOR_ALL = (DIVERGENCE, WEIGHTED, LENGTHS)  # change what the log-probs mean, or a pair's weight: for every part alike


class Loss(Section):
    """What training minimises; names are TRL's. Options that are not set have the chosen loss's own default."""

    loss: str | dict[str, float] = Field(
        "sigmoid", description="name of the loss, or a mixture, name: weight. docs/losses.md has all of them"
    )
    beta: float = Field(0.1, gt=0, description="reward per nat of log-ratio; simpo: per nat a token; orpo: its weight")
    sft_weight: float = Field(
        0.0, ge=0, description="weight of the chosen answer's mean token NLL (nats); with orpo 1 unless set"
    )
    label_smoothing: float | None = Field(
        None, ge=0, lt=0.5, description="chance that a pair's sides are swapped; unset: 0, robust 0.1, exo_pair 0.001"
    )
    discopop_tau: float | None = Field(None, gt=0, description="temperature of discopop's blend; unset: 0.05")
    simpo_gamma: float | None = Field(None, ge=0, description="margin that simpo asks for; unset: 0.5")
    bco_delta: Literal["running", "zero"] | None = Field(
        None, description="bco_pair's reward shift: mean reward of the steps before (unset: this), or none"
    )
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] | None = Field(
        None, description="what holds the policy to the reference; unset: reverse_kl"
    )
    f_alpha_divergence_coef: float | None = Field(
        None, ge=0, le=1, description="alpha_divergence: 1 is reverse_kl, 0 forward_kl; unset: 0.5"
    )
    use_weighting: bool = Field(False, description="WPO: a pair counts by how likely the policy finds its answers")
    ld_alpha: float | None = Field(
        None, ge=0, lt=1, description="LD-DPO: weight of an answer's tokens beyond the length of the pair's shorter one"
    )

    @field_validator("loss")
    @classmethod
    def _losses_exist(cls, loss: str | dict[str, float]) -> str | dict[str, float]:
        if loss == {}:
            raise ValueError("a mixture names at least one loss: sigmoid, or {sigmoid: 0.8, bco_pair: 0.2}")
        for name, weight in (loss if isinstance(loss, dict) else {loss: 1.0}).items():
            if name == "sft":
                raise ValueError("the NLL of the chosen answer is no part of loss: set training.sft_weight")
            if name not in OPTIONS:
                near = difflib.get_close_matches(name.lower(), OPTIONS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(OPTIONS)}"
                raise ValueError(f"there is no loss {name!r}: {hint}")
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"the weight of {name} is {weight}: write a number above 0, or leave the loss out")
        return loss

    @field_validator(*dict.fromkeys(option for known in OPTIONS.values() for option in known))
    @classmethod
    def _acts(cls, value: object, info: ValidationInfo) -> object:
        """An option that is set has an effect on the loss; which stands before it, and is no text if it is wrong."""
        loss, option = info.data.get("loss"), str(info.field_name)
        names = [] if loss is None else list(loss) if isinstance(loss, dict) else [loss]
        if value is None or value is False or not names:
            return value
        takers = [name for name in names if option in OPTIONS[name]]
        if not takers or (option in FOR_ALL and len(takers) < len(names)):
            deaf = next(name for name in names if name not in takers)
            known = ", ".join(name for name, options in OPTIONS.items() if option in options)
            raise ValueError(f"it has no effect with the loss {deaf}: leave it out; it acts on {known}")
        if option == COEFFICIENT and info.data.get(DIVERGENCE) != "alpha_divergence":
            raise ValueError(f"it has no effect without {DIVERGENCE}: alpha_divergence: leave it out")
        if option == SMOOTHED and value == 0 and "exo_pair" in names:
            raise ValueError("it makes exo_pair infinite: leave it out (0.001), or set a number above 0")
        return value

    @model_validator(mode="after")
    def _orpo_has_an_nll_term(self) -> "Loss":
        if "orpo" in self.mixture and "sft_weight" not in self.model_fields_set:
            object.__setattr__(self, "sft_weight", self.mixture["orpo"])  # unset still: it goes where orpo goes
        return self

    @property
    def mixture(self) -> dict[str, float]:
        """Each loss that is minimised, and its weight."""
        return self.loss if isinstance(self.loss, dict) else {self.loss: 1.0}

    @property
    def named(self) -> str:
        """The loss in a word or two: `ipo`, `0.8 sigmoid + 0.2 bco_pair`."""
        return self.loss if isinstance(self.loss, str) else " + ".join(f"{w:g} {n}" for n, w in self.loss.items())

    @property
    def options(self) -> dict[str, Any]:
        """The options that are set."""
        names = dict.fromkeys(name for known in OPTIONS.values() for name in known)
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None and value is not False}

    @property
    def reference_free(self) -> bool:
        """Whether no part of the loss looks at a reference: none is scored."""
        return all(name in WITHOUT_REFERENCE for name in self.mixture)

    @property
    def of_the_batch(self) -> bool:
        """Whether a pair's term depends on the other pairs of its step."""
        return any(name in OF_THE_BATCH for name in self.mixture)

    @property
    def shifts_rewards(self) -> bool:
        """Whether the loss depends on the rewards of the steps before."""
        return "bco_pair" in self.mixture and self.bco_delta != "zero"

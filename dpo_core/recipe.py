"""The recipe: every number and file that can change a weight or a verdict, and nothing else.

Frozen pydantic models that refuse unknown keys. Reading a recipe from YAML, with overrides and error messages
that name the line, is `dpo_core.recipe_file`.
"""

import datetime
import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from dpo_core.recipe_evaluation import Evaluation
from dpo_core.recipe_loss import OPTIONS, Loss
from dpo_core.recipe_online import Online
from dpo_core.recipe_release import (
    BREVITY,
    LENGTH,
    OF_ANSWERS,
    OF_REWARDS,
    OF_SLICE,
    Fraction,
    Promotion,
    RecipeGate,
    Registry,
    Retrain,
    Section,
)
from dpo_core.recipe_tune import Tune


class Data(Section):
    """Where the pairs come from. Paths are relative to the recipe's folder."""

    train: str = Field(
        description="pairs to train on: a file (JSON lines or array, plain, .gz or .zst; Parquet; Arrow), a folder or "
        "pattern of files, s3:// of any of these, a Hugging Face data set: ORG/NAME[:CONFIG][:SPLIT], or a data set of "
        "the store: dataset:NAME[@VERSION]"
    )
    eval: str | None = Field(None, description="held-out pairs; unset: a stable tenth of train, by prompt")
    text: Literal["plain", "turns"] = Field(
        "plain", description="prompt and answers that are text: trained on as they are, or taken as turns of a chat"
    )


class Encoding(Section):
    """How pairs become token ids."""

    max_length: int = Field(1024, gt=1, description="prompt plus response, in tokens")
    overlong: Literal["drop", "cut_prompt"] = Field(
        "drop", description="a pair longer than max_length: drop it, or cut its prompt's oldest turns, then its text"
    )
    thoughts: Literal["train", "refuse"] = Field(
        "train", description="answers that think first: the thought is a part of the answer, or the row is refused"
    )
    date: str = Field("2026-01-01", description="the day that a chat template writes as today's, YYYY-MM-DD")

    @field_validator("date", mode="before")
    @classmethod
    def _is_a_day(cls, day: object) -> object:
        if type(day) is datetime.date:  # as YAML reads it
            return day.isoformat()
        try:
            return datetime.date.fromisoformat(str(day)).isoformat()
        except ValueError:
            raise ValueError(f"{day} is no day: write YYYY-MM-DD") from None


class Validation(Section):
    """When a data set is good enough to train on."""

    intended: list[str] = Field(
        [], description="the aim of the run: words, /regular expressions/, or features (length, refusal, list, ...)"
    )
    on_shortcut: Literal["fail", "warn", "drop", "balance"] = Field(
        "fail", description="where features give the chosen side away: stop, go on, drop pairs, or weigh them"
    )
    min_pairs: int = Field(16, ge=1, description="fewest pairs after quarantine, in rows")
    max_quarantined: Fraction = Field(0.01, description="largest share of rows quarantined as unreadable")
    max_duplicates: Fraction = Field(0.05, description="largest share of rows that repeat an earlier row")
    length_warn: Fraction = Field(0.60, description="share of pairs the longer (or shorter) side wins: warn")
    length_fail: Fraction = Field(0.70, description="the same: fail")
    max_identical: Fraction = Field(
        0.001, description="largest share of pairs with equal or empty answers: above, fail"
    )
    max_near_duplicates: Fraction = Field(0.05, description="largest share of rows that nearly repeat another: warn")
    max_flipped: Fraction = Field(0.01, description="largest share of rows that scores, or cycles, contradict: warn")
    benchmarks: dict[str, str] = Field(
        {}, description="name: file of prompts (JSON lines or text) not to be trained on"
    )
    max_benchmark_overlap: Fraction = Field(0.0, description="largest share of pairs with a benchmark's prompt: warn")
    max_personal: Fraction = Field(0.01, description="largest share of pairs with personal data (e-mail, phone): warn")
    max_source: Fraction = Field(1.0, description="largest share of pairs from one source: above, fail")
    max_drift: float = Field(0.25, gt=0, description="largest shift since the last accepted data set, as PSI: warn")

    @field_validator("intended")
    @classmethod
    def _patterns_compile(cls, terms: list[str]) -> list[str]:
        for term in terms:
            if len(term) > 2 and term.startswith("/") and term.endswith("/"):
                try:
                    re.compile(term[1:-1])
                except re.error as error:
                    raise ValueError(f"{term} is no regular expression: {error}") from None
        return terms


class Lora(Section):
    """Low-rank adapters (peft's names); merged into the weights when training ends."""

    r: int = Field(16, ge=1, description="rank")
    lora_alpha: int = Field(32, ge=1, description="scale: the adapter's output is multiplied by lora_alpha / r")
    target_modules: str | list[str] = Field("all-linear", description="modules that get an adapter")


class EarlyStopping(Section):
    """Some training prompts are set aside and measured during training; the best weights by them are kept."""

    metric: Literal["loss", "rewards/accuracies", "rewards/margins"] = Field(
        "loss", description="of the pairs set aside: the smallest loss is best, or the largest of the others"
    )
    share: float = Field(0.1, gt=0, le=0.5, description="of the training prompts: set aside, and not trained on")
    eval_steps: int = Field(10, ge=1, description="optimizer steps between measurements; the last step is one too")
    patience: int = Field(3, ge=1, description="measurements without a better one, after which training stops")


class Training(Loss):
    """DPO training; names are TRL's where the thing is the same."""

    learning_rate: float = Field(1e-6, gt=0, description="peak, per optimizer step")
    num_train_epochs: float = Field(1.0, gt=0, description="passes over the pairs; a fraction ends early")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps, instead of num_train_epochs")
    train_batch_size: int = Field(8, ge=1, description="pairs an optimizer step, over all devices")
    tokens_per_row: int = Field(
        2048, ge=1, description="tokens of a forward pass on one device (memory); pairs are packed"
    )
    warmup_ratio: Fraction = Field(0.1, description="share of the steps that warm up; then linear to zero")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    freeze_embeddings: bool = Field(False, description="leave input embeddings (and a tied head) as they are")
    lora: Lora | None = Field(None, description="train adapters instead of all weights")
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice instead of keeping them (memory)"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="arithmetic of score, train and evaluate; weights stay fp32"
    )
    seeds: int = Field(
        1, ge=1, le=32, description="seeds trained, from `seed` on; the middle one by the gate's first metric is gated"
    )
    save_steps: int = Field(50, ge=1, description="optimizer steps between checkpoints")
    token_metrics_steps: int = Field(
        0, ge=0, description="optimizer steps between values of entropy and mean_token_accuracy; 0: none"
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="stop where pairs set aside get worse, and keep the weights that were best by them"
    )
    online: Online | None = Field(None, description="learn from the model's own answers while it is trained")

    @field_validator("dtype", mode="before")
    @classmethod
    def _no_float16(cls, dtype: object) -> object:
        if dtype in ("float16", "fp16", "half"):
            raise ValueError(
                "float16 is not offered: gradients of a summed log-prob leave its range, and scaling the loss skips "
                "steps, so that a resumed run would differ; bfloat16 has the range of float32"
            )
        return dtype

    @property
    def decisive(self) -> dict[str, object]:
        """What can change a weight, for names of what was computed; of `online`, a plan knows by what content.

        Without options of losses that are not set: what a recipe older than they are gave keeps its name.
        """
        unset = {"loss"} if self.loss == "sigmoid" else set()
        unset |= {name for known in OPTIONS.values() for name in known} - self.options.keys()
        unset |= {"early_stopping"} if self.early_stopping is None else set()
        return self.model_dump(exclude={"save_steps", "seeds", "online", *unset})

    @model_validator(mode="after")
    def _online_can_be_meant(self) -> "Training":
        if self.online is None:
            return self
        if self.early_stopping is not None:
            raise ValueError("early_stopping has no effect beside online: online.stop says when such a training ends")
        if "num_train_epochs" in self.model_fields_set and self.num_train_epochs != 1:
            raise ValueError("num_train_epochs has no effect beside online: set online.passes, or max_steps")
        if self.online.offline_share and not self.online.offline(self.train_batch_size):
            raise ValueError(
                f"online.offline_share {self.online.offline_share:g} of {self.train_batch_size} pairs is none: raise "
                "it, or train_batch_size"
            )
        return self


class Recipe(Section):
    """One retraining run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="registered model name")
    model: str = Field(description="start model: folder, HF id, GGUF file, pypi:PACKAGE==V/FILE, models:/NAME@ALIAS")
    reference: str | None = Field(
        None,
        description="frozen model of the loss, named as `model` is; unset: the start model. Another one holds a "
        "model that is trained in rounds to where the first began",
    )
    trust_remote_code: str | None = Field(
        None,
        pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$",
        description="run the model's own code: the commit of a hub model (of no other), or the SHA-256 of the *.py",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="data order and adapter initialisation")
    data: Data
    encoding: Encoding = Encoding()
    validation: Validation = Validation()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    retrain: Retrain = Retrain()
    gate: RecipeGate = RecipeGate()
    promotion: Promotion = Promotion()
    registry: Registry = Registry()
    tune: Tune = Tune()

    def without_early_stopping(self) -> "Recipe":
        """The same, trained to the last step."""
        return self.model_copy(update={"training": self.training.model_copy(update={"early_stopping": None})})

    @field_validator("trust_remote_code", mode="before")
    @classmethod
    def _pinned(cls, pin: object) -> object:
        if pin in (True, False) or str(pin).lower() in ("true", "false", "yes", "no", "on", "off"):
            raise ValueError(
                "code is trusted by name, not by a switch: write the commit of the hub's model whose code you have "
                "read, or the SHA-256 that the run without this line prints; leave it out to run none"
            )
        return pin

    @model_validator(mode="after")
    def _metrics_exist(self) -> "Recipe":
        known = {"rewards/accuracies", "rewards/margins", *OF_ANSWERS, LENGTH, BREVITY}
        known |= self.evaluation.suites.keys()
        known |= {*OF_REWARDS} if self.evaluation.rewards else set()
        known |= {"retention/neutral_text"} if self.evaluation.neutral_text else set()
        known |= self.evaluation.benchmarks.keys()
        for metric in [*self.gate.improve, *self.gate.keep, *self.gate.floor]:
            if metric not in known and not OF_SLICE.fullmatch(metric):
                raise ValueError(
                    f"gate names metric {metric!r}, which evaluation does not measure; it has {sorted(known)}"
                )
            if metric in OF_REWARDS and self.evaluation.samples < self.gate.min_items:
                raise ValueError(
                    f"gate names {metric}, which is measured on evaluation.samples: {self.evaluation.samples} held-out "
                    f"prompts, and gate.min_items is {self.gate.min_items}: it could never pass. Raise the first"
                )
        if self.reference is not None and self.training.reference_free:
            raise ValueError(
                f"reference names the frozen model of the loss, and {' and '.join(self.training.mixture)} has none: "
                "leave it out (in rounds of curation: reference: moving)"
            )
        if self.promotion.production == self.name:
            raise ValueError("promotion.production is this model's own name: its champion is there already")
        if self.gate.uptake is not None and not self.evaluation.uptake_pairs:
            raise ValueError(
                "gate.uptake asks for what evaluation.uptake_pairs: 0 does not measure: give it some pairs"
            )
        self.tune.limits(self.gate, self.evaluation.asked_of)
        return self

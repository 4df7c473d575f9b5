"""What the stages of a run hand to each other: small plain records. Rows, ids, log-probs and weights are in the store.

Of each stage its output, which is remembered (`runtime/stages.py`), and the same with what belongs to this run alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field

from dpo_core.curate.curation import Curation
from dpo_core.evaluate.gate import Condition, GateVerdict
from dpo_core.recipe import Encoding, Recipe, Training
from dpo_core.recipe_release import LM_EVAL
from dpo_core.records import Record
from dpo_core.report.documents import Estimate, FindingRecord, JumpRecord, ShortcutRecord, StopRecord
from infra.registry.versions import Version


class Stage(Record):
    """What became of one stage of a run."""

    name: str
    cached: bool = Field(description="a look-up: nothing was computed")
    seconds: float
    key: str = Field("", description="of its record in the store")


class OnlinePlan(Record):
    """Of a run that learns from its own answers: the curation that its recipe names, resolved."""

    curation: Curation
    folder: str = Field(description="of the curation's recipe: functions of the user's own are meant from it")
    content: dict[str, Any] = Field(description="what of it can change a pair, with digests in place of paths")


class HarnessPlan(Record):
    """A task of lm-eval, as it stands when the run begins."""

    sha256: str = Field(description="of what it asks and how it scores, documents included")
    prompts: int = Field(description="different ones")


class Plan(Record):
    """A run's inputs, resolved: what every later stage takes."""

    recipe: Recipe
    model_folder: str
    model_sha256: str = Field(description="weights and configuration of the start model")
    reference_folder: str = Field(
        description="of the loss's frozen model; the start model's, unless the recipe has one"
    )
    reference_sha256: str = Field(description="weights and configuration of it")
    reference_weights_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    files: dict[str, str] = Field(description="SHA-256 of each file that the recipe names")
    champion: Version | None = Field(description="before this run")
    first_champion: Version | None = Field(None, description="the first version that ever was")
    start_model: str = Field(description="the recipe's model by a name that does not move: models:/NAME/NUMBER")
    request: str = Field(description="SHA-256 of what was asked for: recipe and data, not what its model's alias means")
    run_id: str
    run_url: str
    threads: int
    force: bool
    trusted_code: str | None = Field(None, description="SHA-256 of the model's own code that may run")
    online: OnlinePlan | None = None
    lm_eval: dict[str, HarnessPlan] = Field({}, description="each task of evaluation.lm_eval")
    judges: dict[str, str] = Field({}, description="SHA-256 of each model that evaluation.rewards loads here")
    training_seed: int | None = Field(None, description="of one of several trainings; None: the recipe's")

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.recipe.seed if self.training_seed is None else self.training_seed


class CheckResult(Record):
    """What a data check decided."""

    verdict: Literal["pass", "warn", "fail"]
    rows_in: int
    rows_kept: int
    rows_quarantined: int
    rows_dropped: int = Field(description="by validation.on_shortcut")
    findings: list[FindingRecord]
    data_sha256: str
    format: str


class CheckOutput(CheckResult):
    """The same, and where the rows that it kept lie in the store."""

    train_key: str
    eval_key: str
    train_ids_key: str = Field(description="the same rows as token ids of the training tokenizer")
    eval_ids_key: str
    ids_sha256: str = Field(description="of the ids of both: what score and train are given")
    shortcuts: list[ShortcutRecord] = Field(description="of the pairs: what is looked for in the trained model")
    held_out_prompts: int = Field(description="different questions of the held-out rows: what the gate can count on")


class Checked(CheckOutput):
    """The check of this run."""

    report: str = Field(description="the page, on this machine")
    new: int | None = Field(None, description="pairs that the start model has not seen; None: all are trained on")
    aside_key: str = Field("", description="places of the training rows that training.early_stopping sets aside")
    stage: Stage


class ScoreOutput(Record):
    """What a reference pass found and computed."""

    rows: int
    hits: int
    forwards: int
    shards: list[str] = Field(description="keys in the store")


class Scored(ScoreOutput):
    """The reference pass of this run; the log-probs themselves are in the store."""

    path: dict[str, str | int] = Field(description="the numeric path: model, arithmetic, device, threads")
    stage: Stage


class OnlineOutput(Record):
    """What a run learned from of its own answers. `rows` and `shards` are keys in the store, once they are there."""

    rows: str = Field("", description="the pairs, as a data check keeps its own")
    shards: list[str] = Field([], description="their reference log-probs")
    pairs: int
    prompts: int = Field(description="asked; one asked in two passes counts twice")
    answers: int
    tokens: int = Field(description="generated")
    ended: str = Field("", description="why the training ended before its last step, in words")
    ran_away: bool = Field(False, description="it ended by training.online.stop")
    curves: list[dict[str, float]] = Field([], description="figures of each drawing, and the `step` before it")


class TrainOutput(Record):
    """A finished training, as the training process leaves it in result.json."""

    weights_sha256: str
    steps: int
    first_dpo_loss: float
    pairs_per_second: float
    history: Sequence[Mapping[str, int | float]] = Field(description="metrics of every step, TRL's names")
    online: OnlineOutput | None = None
    jumps: list[JumpRecord] = Field([], description="steps at which loss, gradient norm or drift jumped")
    early_stopping: StopRecord | None = Field(None, description="which step's weights these are; null: the last")


class Trained(TrainOutput):
    """The new model: a folder in the store named by its weights."""

    model_key: str
    stage: Stage

    @property
    def ran_away(self) -> str:
        """Why the training was stopped by training.online.stop; else empty."""
        return self.online.ended if self.online is not None and self.online.ran_away else ""


class MeasureOutput(Record):
    """What one model answered: by suite (and to the "samples"), and its log-probs of the held-out answers."""

    answers: dict[str, list[str]] = Field(description="the likeliest")
    cut: dict[str, list[bool]] = Field({}, description="which of them did not end within evaluation.max_new_tokens")
    sampled: dict[str, list[list[str]]] = Field({}, description="by suite: several to each question, drawn by lot")
    kept: list[str] = Field([], description="folders of all these in the store")
    again: dict[str, int] = Field({}, description="questions asked twice; of their answers those that changed, flipped")
    logps: dict[str, list[float]] | None = Field(description="nats, by side; None: those of the reference store")
    nll: dict[str, float] = Field(description="nats a token, by the digest of a paragraph of evaluation.neutral_text")
    uptake: dict[str, list[float]] = Field(description="nats, of each answer `with` a shortcut and `without` it")


class HarnessOutput(Record):
    """One model on the documents of one task of lm-eval."""

    prompts: list[str] = Field(description="what each document asks")
    scores: list[float] = Field(description="of each document, more is better")


class DivergenceOutput(Record):
    """Of each prompt two estimates of the KL divergence on one drawn answer, nats."""

    k1: list[float]
    k3: list[float]


class EvaluateOutput(Record):
    """The headline metrics of the challenger, with 95 % intervals."""

    metrics: dict[str, Estimate]
    gated: dict[str, float] = Field({}, description="metric: its mean over the items that the gate sees")
    answers: list[str] = Field([], description="folders of sampled answers in the store: they live with this")
    logps: dict[str, list[float]] = Field(
        {},
        description="nats, by side, of the first held-out pairs: what the weights have to give again",
    )


class Evaluated(EvaluateOutput):
    """Where the evidence lies (`key` in the store), and what it was gated against."""

    key: str
    baseline: Literal["reference", "champion", "version"]
    baseline_weights_sha256: str
    stage: Stage


def logged(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    """The values of an evaluation by their names in MLflow."""
    plain = ("behaviour/", "retention/", LM_EVAL)
    return {name if name.startswith(plain) else f"eval_{name}": one.value for name, one in metrics.items()}


class Registered(Record):
    """The model version of these weights."""

    version: int
    stage: Stage


class GateOutput(Record):
    """The gate's decision on one challenger."""

    verdict: GateVerdict
    reasons: list[str] = Field(description="the conditions that decided, in words")
    conditions: list[Condition]
    notes: list[str] = Field(description="what else to know of the rules, in words")


class Gated(GateOutput):
    """The gate of this run."""

    stage: Stage


class Promoted(Record):
    """Which version is champion after this run."""

    champion_version: int | None
    not_promoted: str = Field(description="why the champion stays though the gate says promote; else empty")
    waiting_until: str | None = Field(None, description="the version waits for approval until then, ISO 8601")
    stage: Stage


class OnlineOrder(Record):
    """What a training process has to know to answer prompts itself; they are in prompts.jsonl beside the order."""

    plan: OnlinePlan
    encoding: Encoding
    reference_folder: str


class WorkOrder(Record):
    """All that the training process has to know beside the examples: order.json."""

    model_folder: str
    from_reference: bool = Field(description="the start model is the reference: both must give the same log-probs")
    trusted_code: str | None
    training: Training
    seed: int
    threads: int
    run_id: str
    online: OnlineOrder | None = None


class Environment(Record):
    """Where a run ran. Keys of later versions are kept."""

    model_config = ConfigDict(extra="allow")

    python: str = Field(description="version")
    platform: str = Field(description="operating system and processor")
    packages: dict[str, str] = Field(description="name: version")

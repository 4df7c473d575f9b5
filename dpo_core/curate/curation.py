"""The recipe of a curation: where prompts come from, who answers, and how answers become pairs.

Like the recipe of a run: frozen, every key described, unknown keys refused with the nearest name. One of three ways
makes the pairs: `correction` (the model's own answer, improved, is chosen), `rewards` (the best of several answers is
chosen over a bad one), `feedback` (what people said of served answers).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dpo_core.curate.choice import Choice
from dpo_core.curate.correct import Correction
from dpo_core.curate.curves import Runaway
from dpo_core.curate.personal import PersonalData
from dpo_core.curate.prompt_set import TRACES, PromptSource
from dpo_core.curate.rendering_rules import Renderings
from dpo_core.curate.rewriting import Rewriting
from dpo_core.recipe import Encoding, Validation
from dpo_core.recipe_file import absolute_source, load_as
from dpo_core.recipe_release import Fraction, Section
from dpo_core.rewards.config import JudgeRules, Rewards
from dpo_core.rewards.reward_file import ENDPOINT, EndpointModel, Spending

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
Way = Literal["correction", "rewards", "feedback"]
WAYS: tuple[Way, ...] = ("correction", "rewards", "feedback")


class PromptPlan(Section):
    """Which questions are asked. Paths are relative to the recipe's folder."""

    sources: list[PromptSource] = Field(min_length=1, description="where they come from, in order")
    keep_out: dict[str, str] = Field(
        {}, description="name: prompts (of held-out pairs, a benchmark) that none may equal, nearly equal or hold"
    )
    run: str | None = Field(
        None,
        description="recipe of the run that will train on the pairs: what it asks and holds out is kept out too; "
        "rounds have theirs",
    )
    count: int | None = Field(None, ge=1, description="most prompts in all, by lot; unset: all")
    near: Literal["one", "all"] = Field(
        "one", description="prompts that ask nearly the same, whatever the system message: keep the first, or all"
    )

    @field_validator("sources")
    @classmethod
    def _traces_once(cls, sources: list[PromptSource]) -> list[PromptSource]:
        traced = [source.path for source in sources if source.path.startswith(TRACES)]
        if len(traced) > len(set(traced)):
            raise ValueError("two sources read the same traces: name them once")
        return sources


class Answers(Section):
    """How the model answers the prompts."""

    samples: int | None = Field(None, ge=1, description="answers a prompt; unset: 8 to choose among, 1 to correct")
    temperature: float | None = Field(
        None, ge=0, le=10, description="0: always the likeliest token; unset: 1 to choose among, 0 to correct"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="sampled among the likeliest tokens that have this share")
    max_new_tokens: int = Field(128, ge=1, description="length of an answer, in tokens")
    pilot: int = Field(30, ge=0, description="prompts answered first, to tell what all will give and cost; 0: none")
    min_yield: Fraction = Field(
        0.05,
        description="share of prompts that give a pair: where even the upper end of the pilot's interval lies below, "
        "stop before the rest is spent",
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="arithmetic of a model of this machine")


class CorrectionWay(Section):
    """What is done to an answer: rules, then a stronger model, and who must find it better; or many renderings."""

    rules: Correction = Field(Correction(), description="corrections by rules")
    model: str | None = Field(None, description="a stronger model: endpoint:NAME, or a model as `model` takes it")
    rewriting: Rewriting | None = Field(None, description="what the stronger model is told")
    better: bool = Field(False, description="keep only corrections that `rewards` scores above the answer")
    renderings: Renderings | None = Field(
        None,
        description="instead: many ways to write each pair, of which one is taken so that one word tells",
    )

    @model_validator(mode="after")
    def _does_something(self) -> "CorrectionWay":
        if (self.model is None) != (self.rewriting is None):
            raise ValueError("a stronger model needs both: model, and rewriting.instruction")
        if self.renderings is None and not self.rules.rules and self.model is None:
            raise ValueError("no correction is named: give it rules, a model with rewriting.instruction, or renderings")
        if self.renderings is not None and (self.rules.rules or self.model or self.better):
            raise ValueError("renderings stand alone: leave rules, model and better out")
        return self


class Feedback(Section):
    """What people said of answers: that a registered model gave where it is served, or that they judged on a page."""

    traces: str | None = Field(None, pattern=NAME, description="registered model whose traces are read")
    judgements: list[str] = Field([], description="or: files of judgements that `dpo judge` wrote (docs/judging.md)")
    experiment: str | None = Field(None, description="MLflow experiment of the traces; unset: the model's own")
    days: int | None = Field(None, ge=1, description="traces of the last so many days (UTC); unset: all")
    scale: Annotated[tuple[float, float], Field(strict=False)] = Field(
        (0.0, 1.0), description="lowest and highest number of a rating: its upper quarter likes, its lower dislikes"
    )
    personal_data: PersonalData = Field(
        "mask", description="e-mail, phone and the like in prompts and answers: masked, the pair refused, or kept"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Feedback":
        if (self.traces is None) is not bool(self.judgements):
            raise ValueError("feedback is of one kind: name traces, or files of judgements")
        for name in ("experiment", "days"):
            if self.judgements and getattr(self, name) is not None:
                raise ValueError(f"feedback.{name} is of traces: leave it out")
        return self


class Rounds(Section):
    """Curate, retrain on it, curate with the new model, and again."""

    retrain: str = Field(description="recipe of the run; its data.train and model are set by each round")
    count: int = Field(2, ge=1, le=50, description="rounds at most")
    reference: Literal["fixed", "moving"] = Field(
        "fixed",
        description="frozen model of the loss: the first model in every round, or the one that the round starts from",
    )
    stop: Runaway = Field(Runaway(), description="when answers have run away: no further round")


class Curation(Section):
    """How a data set is made."""

    name: str = Field(pattern=NAME, description="data set: each finished curation is a version of it")
    model: str = Field(
        description="who answers: folder, HF id, GGUF file, models:/NAME@champion, or endpoint:NAME of `endpoints`"
    )
    trust_remote_code: str | None = Field(
        None, pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$", description="as in the recipe of a run"
    )
    seed: int = Field(0, ge=0, description="of sampling and of every draw")
    prompts: PromptPlan | None = Field(None, description="the questions")
    answers: Answers = Answers()
    correction: CorrectionWay | None = Field(None, description="way: the answer corrected is chosen, itself rejected")
    rewards: Rewards | None = Field(None, description="way: of several answers the best is chosen by this")
    choice: Choice = Field(Choice(), description="which two of several scored answers make a pair")
    feedback: Feedback | None = Field(None, description="way: feedback on served answers")
    endpoints: dict[str, EndpointModel] = Field({}, description="name: a model behind an endpoint")
    budget: Spending = Spending()
    validation: Validation = Field(Validation(), description="what the pairs must pass, as in the recipe of a run")
    encoding: Encoding = Encoding()
    licence: str = Field("", description="of the pairs, carried along with the data set")
    grow: bool | None = Field(
        None, description="a new version holds the pairs of the latest one too; unset: with feedback on traces it does"
    )
    rounds: Rounds | None = Field(None, description="repeat with the model that was trained on the pairs")

    @property
    def way(self) -> Way:
        """How pairs are made; a reward beside a correction judges it."""
        return next(way for way in WAYS if getattr(self, way) is not None)

    @property
    def grows(self) -> bool:
        """Whether a new version begins with the latest one's pairs: remarks on traces are used once, files stay."""
        return (self.feedback is not None and self.feedback.traces is not None) if self.grow is None else self.grow

    @property
    def samples(self) -> int:
        """Answers a prompt."""
        return self.answers.samples or (8 if self.way == "rewards" else 1)

    @property
    def temperature(self) -> float:
        """Of sampling."""
        given = self.answers.temperature
        return (1.0 if self.way == "rewards" else 0.0) if given is None else given

    @property
    def models(self) -> dict[str, str]:
        """Key of the recipe: the model that it names."""
        found = {"model": self.model}
        if self.correction is not None and self.correction.model is not None:
            found["correction.model"] = self.correction.model
        if self.rewards is not None and self.rewards.classifier is not None:
            found["rewards.classifier.model"] = self.rewards.classifier.model
        return found | {f"{key}.model": judge.model for key, judge in self.judges.items()}

    @property
    def run(self) -> str | None:
        """Recipe of the run that trains on the pairs, where one is named."""
        if self.rounds is not None:
            return self.rounds.retrain
        return self.prompts.run if self.prompts else None

    @property
    def renderings(self) -> Renderings | None:
        """Of a correction by renderings."""
        return self.correction.renderings if self.correction else None

    @property
    def files(self) -> dict[str, str]:
        """Key of the recipe: the file of renderings that it names."""
        names = ("sentences", "wrong_names") if self.renderings else ()
        return {f"correction.renderings.{name}": getattr(self.renderings, name) for name in names}

    @property
    def judges(self) -> dict[str, JudgeRules]:
        """Section of the recipe: the judge that it names."""
        if self.rewards is None:
            return {}
        panel = {f"rewards.panel.{name}": judge for name, judge in self.rewards.panel.items()}
        return ({"rewards.judge": self.rewards.judge} if self.rewards.judge else {}) | panel

    @model_validator(mode="after")
    def _one_way(self) -> "Curation":
        ways = [way for way in WAYS if getattr(self, way) is not None]
        if not ways or ("feedback" in ways and len(ways) > 1):
            raise ValueError(
                f"a curation makes pairs in one way: correction, rewards or feedback; here are {len(ways)}"
            )
        if self.prompts is not None and self.feedback is not None:
            raise ValueError("feedback is on answers to prompts that were asked: leave prompts out")
        if self.prompts is None and ways != ["feedback"]:
            raise ValueError("prompts are missing: name their sources")
        if self.rounds is not None and self.prompts is not None and self.prompts.run is not None:
            raise ValueError("prompts.run: the run of rounds is rounds.retrain; leave prompts.run out")
        if self.way == "rewards" and self.samples < 2:
            raise ValueError("answers.samples: 1 leaves nothing to choose among: at least 2 are needed")
        if self.way == "rewards" and self.temperature == 0:
            raise ValueError("answers.temperature: 0 gives the same answer each time: choosing needs more")
        if self.correction is not None and self.correction.better and self.rewards is None:
            raise ValueError("correction.better asks for what `rewards` scores higher: name a reward")
        return self

    @model_validator(mode="after")
    def _endpoints_exist(self) -> "Curation":
        for key, model in self.models.items():
            if model.startswith(ENDPOINT) and key == "rewards.classifier.model":
                raise ValueError(f"{key} is {model}: a classifier is a model folder or a hub's model")
            if model.startswith(ENDPOINT) and model.removeprefix(ENDPOINT) not in self.endpoints:
                known = ", ".join(self.endpoints) or "none is named"
                raise ValueError(f"{key} is {model}, which `endpoints` does not have: {known}")
        if self.rounds is not None and (self.model.startswith(ENDPOINT) or self.feedback is not None):
            raise ValueError("rounds train the model that answers: it cannot be behind an endpoint, or a served one")
        return self


def load_curation(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Curation:
    """Read the recipe of a curation; its relative paths are meant from its folder. Raises InputError."""
    curation, _ = load_as(Curation, path, overrides)
    folder = Path(path).parent.resolve()

    def absolute(text: str) -> str:
        return absolute_source(text, folder)

    values = curation.model_dump()
    if curation.prompts is not None:
        for source in values["prompts"]["sources"]:
            if not source["path"].startswith(TRACES):
                source["path"] = absolute(source["path"])
        values["prompts"]["keep_out"] = {name: absolute(file) for name, file in curation.prompts.keep_out.items()}
        if curation.prompts.run is not None:
            values["prompts"]["run"] = absolute(curation.prompts.run)
    if curation.rounds is not None:
        values["rounds"]["retrain"] = absolute(curation.rounds.retrain)
    for name, file in curation.files.items():
        _set(values, name, absolute(file))
    if curation.feedback is not None:
        values["feedback"]["judgements"] = [absolute(file) for file in curation.feedback.judgements]
    values["validation"]["benchmarks"] = {n: absolute(file) for n, file in curation.validation.benchmarks.items()}
    for key, model in curation.models.items():
        if model.startswith(("./", "../")):
            _set(values, key, absolute(model))
    for key, judge in curation.judges.items():
        if judge.labels is not None:
            _set(values, f"{key}.labels", absolute(judge.labels))
    return Curation.model_validate(values)


def _set(values: dict[str, Any], key: str, value: str) -> None:
    """By its dotted key, in which the name of a panel's judge may have dots of its own."""
    while inside := [name for name in values if key.startswith(f"{name}.")]:
        section = max(inside, key=len)
        values, key = values[section], key.removeprefix(f"{section}.")
    values[key] = value

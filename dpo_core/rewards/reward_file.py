"""Who says which answer is better, from a YAML file: `rewards`, `endpoints`, `budget` of a recipe of curation."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from dpo_core.errors import InputError
from dpo_core.recipe_file import absolute_source, checked_recipe, read_text
from dpo_core.recipe_release import Section
from dpo_core.recipe_text import read_yaml
from dpo_core.rewards.config import JudgeRules, Rewards

DO = "name a recipe of curation, or a file with its section `rewards`: docs/rewards.md"

PLACED = {"model", "messages", "n", "stream"}  # parameters of a call that have their place elsewhere
OPTIONAL = {"temperature", "top_p", "max_tokens", "seed"}  # the same; an endpoint may do without them

ENDPOINT = "endpoint:"  # before the name of one of `endpoints`, wherever a model is named


class EndpointModel(Section):
    """A model behind an OpenAI-compatible endpoint (vLLM, SGLang, transformers serve, a service)."""

    url: str = Field(pattern=r"^https?://", description="base address, up to /v1")
    model: str = Field(min_length=1, description="the model's name there")
    api_key_env: str = Field(
        "OPENAI_API_KEY", pattern=r"^[A-Za-z_]\w*$", description="environment variable that holds the key"
    )
    at_once: int = Field(8, ge=1, le=256, description="calls on their way at the same time")
    timeout_s: float = Field(120.0, gt=0, description="seconds that one call may take")
    retries: int = Field(6, ge=0, description="further tries of a call that a second try can mend")
    temperature: float = Field(0.0, ge=0, description="of judges and of corrections; answers have their own")
    max_tokens: int = Field(512, ge=1, description="of a judge's or a correction's reply")
    extra: dict[str, Any] = Field(
        {},
        exclude_if=lambda extra: not extra,  # what says nothing is no part of a key
        description="what else is sent with each call, as it is; null leaves a parameter out: "
        "temperature, top_p, max_tokens, seed",
    )

    @model_validator(mode="after")
    def _extra_can_be_sent(self) -> "EndpointModel":
        for name, value in self.extra.items():
            if name in PLACED or (name in OPTIONAL and value is not None):
                do = "; null leaves it out" if name in OPTIONAL else ""
                raise ValueError(f"extra names {name}, which is set by the rest of the recipe{do}")
        return self


class Spending(Section):
    """What calls of endpoints may cost, all runs of this curation together."""

    calls: int | None = Field(None, ge=1, description="most calls; unset: any number")
    tokens: int | None = Field(None, ge=1, description="most tokens, of prompts and replies; unset: any number")


class RewardFile(Section):
    """The three sections; a recipe of curation may have others, which are its own business."""

    model_config = ConfigDict(title="rewards of an evaluation")

    rewards: Rewards = Field(description="what scores or compares answers")
    endpoints: dict[str, EndpointModel] = Field({}, description="name: a model behind an endpoint")
    budget: Spending = Spending()

    @property
    def absolute(self) -> bool:
        """Whether one reward gives an answer a number of its own; judges that compare, and several rewards, do not."""
        compares = any(judge.mode == "compare" for judge in self.rewards.judges.values())
        return len(self.rewards.names) == 1 and not compares

    @model_validator(mode="after")
    def _can_be_asked(self) -> "RewardFile":
        for name, judge in self.rewards.judges.items():
            if judge.model.startswith(ENDPOINT) and judge.model.removeprefix(ENDPOINT) not in self.endpoints:
                known = ", ".join(self.endpoints) or "none is named"
                raise ValueError(f"{name}.model is {judge.model}, which `endpoints` does not have: {known}")
        if self.rewards.rules is not None and self.rewards.rules.asked:
            raise ValueError(
                "rules.asked is what a prompt's own line asks, and held-out prompts have no such line: name the rules "
                "here, or make a file of evaluation.behaviour of them"
            )
        return self


def load_reward_file(path: str | Path) -> RewardFile:
    """Its paths are meant from its folder. Raises InputError with file, line and remedy."""
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file of rewards", where=str(path), do=DO)
    whole, lines = read_yaml(read_text(path, "file of rewards", DO), str(path))
    if not isinstance(whole, dict) or "rewards" not in whole:
        raise InputError("it has no section `rewards`", where=str(path), do=DO)
    values = {name: section for name, section in whole.items() if name in RewardFile.model_fields}
    origins = {key: f"{path}:{line}" for key, line in lines.items()}
    found = checked_recipe(values, origins, str(path), (), RewardFile)
    return found.model_copy(update={"rewards": _from_folder(found.rewards, path.parent.resolve())})


def _from_folder(rewards: Rewards, folder: Path) -> Rewards:
    def resolved(judge: JudgeRules) -> JudgeRules:
        changes: dict[str, object] = {"labels": absolute_source(judge.labels, folder)} if judge.labels else {}
        changes |= {"model": absolute_source(judge.model, folder)} if judge.model.startswith(("./", "../")) else {}
        return judge.model_copy(update=changes)

    update: dict[str, object] = {"panel": {name: resolved(judge) for name, judge in rewards.panel.items()}}
    if rewards.judge is not None:
        update["judge"] = resolved(rewards.judge)
    if rewards.classifier is not None and rewards.classifier.model.startswith(("./", "../")):
        update["classifier"] = rewards.classifier.model_copy(
            update={"model": absolute_source(rewards.classifier.model, folder)}
        )
    return rewards.model_copy(update=update)

"""Which of two models' answers the rewards and judges of a recipe find better; and whether these may be asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.evaluate.judges.panel import Panel
from dpo_core.evaluate.preferred import JudgedBy
from dpo_core.model.identity import digest_asked
from dpo_core.recipe_release import ANSWER_REWARD
from dpo_core.records import Record
from dpo_core.rewards.build import members_of
from dpo_core.rewards.classifier import LoadedClassifier, load_classifier
from dpo_core.rewards.config import JudgeRules
from dpo_core.rewards.entry_point import FunctionReward
from dpo_core.rewards.judge import Ask
from dpo_core.rewards.reward_file import ENDPOINT, RewardFile, load_reward_file
from infra.models import fetch_model
from infra.settings import load_settings
from infra.store.base import Store
from tasks.curate.endpoints import ask_of, require_there
from tasks.curate.records import Reach
from tasks.curate.ways.judges import admitted
from tasks.records import Plan
from tasks.runtime.models import local_model, require_usable
from tasks.runtime.stages import remembered

CODE = ("tasks.evaluation.judged",)


class JudgedOutput(Record):
    """One model's answers against another's; null: the prompt's answers have no score."""

    wins: list[float | None] = Field(description="1, 0.5 or 0 each; of several rewards the weighted share of votes")
    scores: list[float | None] = Field(description="a number an answer; empty where the reward only compares")
    unscored: str = Field("", description="why a prompt has no score")
    refused: int = Field(0, description="questions that an endpoint refused")


class AdmittedOutput(Record):
    """Judges held against people."""

    reports: dict[str, object]
    refused: int = Field(0, description="questions that an endpoint refused")


class Jury:
    """The rewards and judges that a recipe's evaluation names."""

    def __init__(self, plan: Plan, store: Store) -> None:
        assert plan.recipe.evaluation.rewards is not None, "the recipe names a file of rewards"
        self._plan, self._store, self._path = plan, store, Path(plan.recipe.evaluation.rewards)
        self.file: RewardFile = load_reward_file(self._path)
        self._reach = Reach(
            endpoints=self.file.endpoints,
            budget=self.file.budget,
            scope=f"{plan.recipe.name}-evaluation",
            seed=plan.recipe.seed,
            threads=plan.threads,
        )
        self._asks: dict[str, Ask] = {}
        self._refused: list[str] = []  # why an endpoint gave a question no reply
        self._panel: Panel | None = None
        self.models = dict(plan.judges)
        self.content = content_of_rewards(self.file, self._path.parent, self.models)

    def require_usable(self) -> None:
        """Raise InputError or InfraError for what could not be asked after the training, or may not be."""
        gate, evaluation = self._plan.recipe.gate, self._plan.recipe.evaluation
        if ANSWER_REWARD in {*gate.gains, *gate.keep, *gate.floor} and not self.file.absolute:
            says = f"gate names {ANSWER_REWARD}, and no reward here gives an answer a number of its own"
            do = "name answers/win_rate instead: several rewards, and judges that compare, say who is better"
            raise InputError(says, where=str(evaluation.rewards), do=do)
        require_there(self._reach, self._store, [judge.model for judge in self.file.rewards.judges.values()])
        self.reports()

    def reports(self) -> dict[str, object]:
        """Each judge that has labels, held against them, once. Raises InputError for one that agrees too little."""

        def compute() -> AdmittedOutput:
            before = len(self._refused)
            reports = admitted(self.file.rewards, self._ask)
            return AdmittedOutput(reports=reports, refused=len(self._refused) - before)

        if not any(judge.labels for judge in self.file.rewards.judges.values()):
            return {}
        inputs = {"content": self.content}
        output, _ = remembered(
            self._store, "judges", inputs, compute, output=AdmittedOutput, code=CODE, lasting=_all_replied
        )
        return output.reports

    def each(
        self, prompts: Sequence[tuple[Message, ...]], answers: Mapping[str, Sequence[str]], baseline: str
    ) -> dict[str, JudgedOutput]:
        """By model: its answers against those of the baseline, whose own tie."""
        return {model: self.judged(prompts, texts, answers[baseline]) for model, texts in answers.items()}

    def says(self, judged: Mapping[str, JudgedOutput]) -> JudgedBy:
        """Who judged, for people to read."""
        why = next((output.unscored for output in judged.values() if output.unscored), "")
        return JudgedBy(self.file.rewards.names, self.reports(), why)

    def judged(
        self, prompts: Sequence[tuple[Message, ...]], ours: Sequence[str], theirs: Sequence[str]
    ) -> JudgedOutput:
        """Our answers against theirs; what was asked before is looked up."""

        def compute() -> JudgedOutput:
            panel, before = self._asked(), len(self._refused)
            scores = panel.scores(prompts, ours) if self.file.absolute else []
            wins = panel.wins(prompts, ours, theirs)
            return JudgedOutput(wins=wins, scores=scores, unscored=panel.unscored, refused=len(self._refused) - before)

        inputs = {"content": self.content, "answers": digest_json([list(prompts), list(ours), list(theirs)])}
        output, _ = remembered(
            self._store,
            "judged",
            inputs,
            compute,
            output=JudgedOutput,
            code=CODE,
            force=self._plan.force,
            lasting=_all_replied,
        )
        return output

    def _asked(self) -> Panel:
        if self._panel is None:
            rewards = self.file.rewards
            members = members_of(rewards, ask=self._ask, load_classifier=_classifier, folder=self._path.parent)
            self._panel = Panel(members, rewards.weights)
        return self._panel

    def _ask(self, judge: JudgeRules) -> Ask:
        if judge.model not in self._asks:
            self._asks[judge.model] = ask_of(self._reach, self._store, judge.model, self._refused)
        return self._asks[judge.model]


def content_of_rewards(file: RewardFile, folder: Path, models: dict[str, str]) -> dict[str, object]:
    """A file of rewards with digests in place of what lies on this machine: all that decides what it says.

    `folder`: the file's. `models`: digests that are known already, for gigabytes are read once a run; others are added.
    """
    rewards, home = file.rewards, load_settings().home
    places: dict[str, Path] = {}
    digests: dict[str, str] = {}
    for name, judge in rewards.judges.items():
        if judge.labels is not None:
            digests[f"{name}.labels"] = _digest_of_labels(judge.labels)
        if not judge.model.startswith(ENDPOINT):
            places[f"{name}.model"] = local_model(judge.model, home)
            require_usable(places[f"{name}.model"])
    if rewards.classifier is not None:
        places["classifier.model"] = fetch_model(rewards.classifier.model, home)
    models |= {key: digest_asked(place) for key, place in places.items() if key not in models}
    digests |= {key: models[key] for key in places}
    if rewards.entry_point is not None:
        digests["entry_point"] = FunctionReward(rewards.entry_point.function, folder=folder).digest
    return {"file": _without_paths(file.model_dump(mode="json", exclude={"budget"}), digests), **digests}


def _all_replied(output: JudgedOutput | AdmittedOutput) -> bool:
    return not output.refused


def _without_paths(content: dict[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    rewards = content["rewards"]
    sections = {"judge": rewards["judge"], "classifier": rewards["classifier"], **rewards["panel"]}
    for name, section in sections.items():
        for key in ("labels", "model"):
            if f"{name}.{key}" in digests:
                section[key] = digests[f"{name}.{key}"]
    return content


def _digest_of_labels(path: str) -> str:
    if not Path(path).is_file():
        do = "check the path; it is meant from the folder of the file of rewards"
        raise InputError("a file that the judge names is missing", where=path, do=do)
    return digest_file(Path(path))


def _classifier(model: str) -> LoadedClassifier:
    return load_classifier(fetch_model(model, load_settings().home))

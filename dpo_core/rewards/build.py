"""The reward that a recipe names."""

from collections.abc import Callable
from pathlib import Path

from dpo_core.rewards.classifier import ClassifierReward, LoadClassifier
from dpo_core.rewards.config import JudgeRules, Rewards
from dpo_core.rewards.ensemble import Ensemble
from dpo_core.rewards.entry_point import FunctionReward
from dpo_core.rewards.judge import Ask, Judge, JudgeReward
from dpo_core.rewards.reward import Reward, Watched
from dpo_core.rewards.rules import RuleReward

AskOf = Callable[[JudgeRules], Ask]  # how the model that a judge names is reached


def build(config: Rewards, *, ask: AskOf, load_classifier: LoadClassifier, folder: Path) -> Watched:
    """The reward, or the ensemble of several; see members_of."""
    members = members_of(config, ask=ask, load_classifier=load_classifier, folder=folder)
    if len(members) == 1:
        return Watched(members[0])
    return Watched(Ensemble(members, by=config.combine, weights=config.weights))


def members_of(config: Rewards, *, ask: AskOf, load_classifier: LoadClassifier, folder: Path) -> list[Reward]:
    """Every reward that the section names. `folder`: the recipe's, which paths of functions are meant from.

    Raises InputError for what cannot be loaded or meant; nothing is asked of a judge here.
    """
    members: list[Reward] = []
    if config.rules is not None:
        members.append(RuleReward(config.rules))
    if config.classifier is not None:
        members.append(ClassifierReward(load_classifier(config.classifier.model), config.classifier))
    members += [JudgeReward(Judge(ask(rules), rules, name=name)) for name, rules in config.judges.items()]
    if config.entry_point is not None:
        members.append(FunctionReward(config.entry_point.function, folder=folder))
    return members

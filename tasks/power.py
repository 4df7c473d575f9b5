"""What a recipe's gate can tell before anything is trained: the smallest effect that so many items show."""

import math
from pathlib import Path

from dpo_core.evaluate import power
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.evaluate.gate import alpha_of_gains
from dpo_core.evaluate.unseen import count_groups
from dpo_core.recipe import Recipe
from tasks.documents import Detectable

DIFFER = 0.2  # share of the items on which two models differ, as it is assumed: it is not known before


def detectable(recipe: Recipe, held_out: int | None = None) -> list[Detectable]:
    """Of each condition on shares, as far as its prompts can be counted; `held_out`: prompts of held-out pairs."""
    suites = {name: path for name, path in recipe.evaluation.suites.items() if Path(path).is_file()}
    prompts = {name: count_groups([check.prompt for check in read_checks(path)]) for name, path in suites.items()}
    if held_out is not None:
        prompts["rewards/accuracies"] = held_out
    rules = recipe.gate
    asked = [("improve", metric, alpha_of_gains(rules, recipe.retrain.looks)) for metric in rules.gains]
    asked += [("keep", metric, rules.alpha) for metric in rules.keep]
    return [
        Detectable(metric=metric, rule=rule, prompts=prompts[metric], effect=_effect(prompts[metric], level))
        for rule, metric, level in asked
        if prompts.get(metric)
    ]


def _effect(prompts: int, alpha: float) -> float:
    return round(power.detectable(math.sqrt(DIFFER / prompts), alpha), 4)

"""What a recipe's gate can tell before anything is trained: the smallest effect that so many items show."""

import math
from pathlib import Path

from dpo_core.evaluate import power
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.evaluate.looks import alpha_of_a_look
from dpo_core.evaluate.unseen import unseen_items
from dpo_core.recipe import Recipe
from tasks.documents import Detectable

DIFFER = 0.2  # share of the items on which two models differ, as it is assumed: it is not known before


def detectable(recipe: Recipe, held_out: int | None = None) -> list[Detectable]:
    """Of each condition on shares, as far as its prompts can be counted; `held_out`: prompts of held-out pairs."""
    suites = {
        **{f"behaviour/{name}": path for name, path in recipe.evaluation.behaviour.items()},
        **{f"retention/{name}": path for name, path in recipe.evaluation.retention.items()},
    }
    prompts = {name: _prompts(path) for name, path in suites.items() if Path(path).is_file()}
    if held_out is not None:
        prompts["rewards/accuracies"] = held_out
    alpha = recipe.gate.alpha
    look = min(alpha, alpha_of_a_look(recipe.gate.alpha_year, recipe.retrain.looks))
    asked = [("improve", metric, look) for metric in recipe.gate.gains]
    asked += [("keep", metric, alpha) for metric in recipe.gate.keep]
    return [
        Detectable(metric=metric, rule=rule, prompts=prompts[metric], effect=_effect(prompts[metric], level))
        for rule, metric, level in asked
        if prompts.get(metric)
    ]


def _effect(prompts: int, alpha: float) -> float:
    return round(power.detectable(math.sqrt(DIFFER / prompts), alpha), 4)


def _prompts(path: str) -> int:
    """Different questions of a prompt file: wordings of one count once."""
    return len(set(unseen_items([check.prompt for check in read_checks(path)], []).clusters))

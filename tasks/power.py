"""What a recipe's gate can tell before anything is trained: the smallest effect that so many items show."""

import math
from collections.abc import Mapping
from pathlib import Path

from dpo_core.evaluate import power
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.evaluate.gate import alpha_of_gains
from dpo_core.evaluate.unseen import count_groups
from dpo_core.recipe import Recipe
from dpo_core.recipe_release import LM_EVAL, is_share
from tasks.documents import Detectable

DIFFER = 0.2  # share of the items on which two models differ, as it is assumed: it is not known before


def detectable(
    recipe: Recipe, held_out: int | None = None, benchmarks: Mapping[str, int] | None = None
) -> list[Detectable]:
    """Of each condition on shares, as far as its prompts can be counted; `held_out`: prompts of held-out pairs.

    `benchmarks`: prompts of each task of lm-eval, which only its package can tell.
    """
    suites = {name: path for name, path in recipe.evaluation.suites.items() if Path(path).is_file()}
    prompts = {name: count_groups([check.prompt for check in read_checks(path)]) for name, path in suites.items()}
    prompts |= {f"{LM_EVAL}{name}": count for name, count in (benchmarks or {}).items()}
    if held_out is not None:
        prompts["rewards/accuracies"] = held_out
    return [
        Detectable(
            metric=metric,
            rule=rule,
            prompts=prompts[metric],
            effect=_effect(prompts[metric], alpha, amount if rule == "floor" else None),
            needed=_needed(rule, amount, alpha, share=_counts_answers(metric)),
        )
        for rule, metric, amount, alpha in _asked(recipe)
        if prompts.get(metric)
    ]


def _asked(recipe: Recipe) -> list[tuple[str, str, float, float]]:
    """(rule, metric, what is asked, error) of each condition; of floors those on shares, whose errors are known."""
    rules, gains = recipe.gate, alpha_of_gains(recipe.gate, recipe.retrain.looks)
    asked = [("improve", metric, amount, gains) for metric, amount in rules.gains.items()]
    asked += [("keep", metric, amount, rules.alpha) for metric, amount in rules.keep.items()]
    return asked + [
        ("floor", metric, least, rules.alpha) for metric, least in rules.floor.items() if _counts_answers(metric)
    ]


def _counts_answers(metric: str) -> bool:
    """Of lm-eval's tasks it is taken for granted; values beyond 0 and 1 are known once they are there."""
    return is_share(metric) or metric.startswith(LM_EVAL)


def _needed(rule: str, amount: float, alpha: float, *, share: bool) -> int:
    """Prompts below which the condition cannot hold, as the gate tests it."""
    if rule == "improve":
        return power.fewest_groups(alpha)
    margin = 1 - amount if rule == "floor" else amount
    return power.unchanged_items_needed(margin, alpha) if share and 0 < margin < 1 else 0


def _effect(prompts: int, alpha: float, floor: float | None) -> float:
    variance = DIFFER if floor is None else max(floor * (1 - floor), 0.0)
    return round(power.detectable(math.sqrt(variance / prompts), alpha), 4)

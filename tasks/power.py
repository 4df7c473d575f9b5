"""What a recipe's gate can tell before anything is trained: the smallest effect that so many items show."""

import math
from collections.abc import Mapping
from pathlib import Path

from dpo_core.evaluate import power
from dpo_core.evaluate.behaviour import read_checks
from dpo_core.evaluate.gate import alpha_of_gains
from dpo_core.evaluate.unseen import count_groups
from dpo_core.recipe import Recipe
from dpo_core.recipe_release import LM_EVAL, OF_ANSWERS, is_share
from tasks.documents import Detectable

DIFFER = 0.2  # share of the items on which two models differ, as it is assumed: it is not known before
PAIRS = "rewards/accuracies"
EXAMPLES = (100, 400, 1600)  # prompts of held-out pairs, while nobody has counted them


def detectable(
    recipe: Recipe, held_out: int | None = None, benchmarks: Mapping[str, int] | None = None, *, answers: bool = True
) -> list[Detectable]:
    """Of each condition on shares the prompts that the gate sees; `held_out`: those of held-out pairs, else EXAMPLES.

    `benchmarks`: prompts of each task of lm-eval, which only its package can tell. `answers`: whether the model gives
    any: one without a chat template does not.
    """
    prompts = {metric: (count,) for metric, count in _prompts(recipe, held_out, benchmarks or {}, answers).items()}
    return [
        Detectable(
            metric=metric,
            rule=rule,
            prompts=count,
            effect=_effect(count, alpha, amount if rule == "floor" else None),
            needed=_needed(rule, amount, alpha, share=_counts_answers(metric)),
            assumed=metric not in prompts,
        )
        for rule, metric, amount, alpha in _asked(recipe)
        for count in prompts.get(metric, EXAMPLES if metric == PAIRS else ())
        if count
    ]


def _prompts(recipe: Recipe, held_out: int | None, benchmarks: Mapping[str, int], answers: bool) -> dict[str, int]:
    """Of each metric those that the gate sees, as far as they can be counted."""
    evaluation = recipe.evaluation

    def seen(count: int) -> int:
        return count - count // 3 if count >= evaluation.sealed_from else count  # a third is sealed

    suites = {name: path for name, path in evaluation.suites.items() if Path(path).is_file()}
    asked = {name: seen(count_groups([c.prompt for c in read_checks(path)])) for name, path in suites.items()}
    samples = evaluation.samples if held_out is None else min(evaluation.samples, held_out)
    found = asked | {f"{LM_EVAL}{name}": seen(count) for name, count in benchmarks.items()}
    found |= dict.fromkeys(OF_ANSWERS, sum(asked.values()) + seen(samples) if answers else 0)
    return found if held_out is None else found | {PAIRS: seen(held_out)}


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

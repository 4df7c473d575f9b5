"""The search before its first trial: space, limits, study, and whether the budget is worth beginning."""

import logging
import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.errors import InputError
from dpo_core.memory import usable_memory
from dpo_core.model.folder.headers import read_headers
from dpo_core.recipe_tune import BUDGET
from dpo_core.tune.rungs import pairs_of_trial
from dpo_core.tune.space import space_of
from infra.settings import load_settings, usable_cores
from tasks.records import Plan
from tasks.tune import study as studies
from tasks.tune.records import Search, TuningSplit

log = logging.getLogger("dpo.tune")
FIGURES = 3  # higher where a figure of a trial comes to mean something else: a study holds figures of one kind
BYTES = 24  # of memory for each parameter of a training: weights, gradients, two moments, activations, and the parent


@task(name="begin", cache_policy=NO_CACHE)
def begin_search(plan: Plan, split: TuningSplit) -> Search:
    """Raises InputError for a space, a budget or a study with which no search can be."""
    if plan.recipe.training.online is not None:
        says = "a search trains on pairs that are there; this recipe's come from the model in training"
        raise InputError(says, where="training.online", do="search without it: --set training.online=null")
    recipe, name = plan.recipe, studies.study_of(plan.recipe)
    parameters = _parameters(Path(plan.model_folder))
    search = Search(
        plan=plan,
        split=split,
        study=name,
        space=space_of(recipe, rows=split.trained_on, parameters=parameters),
        limits=recipe.tune.limits(recipe.gate, recipe.evaluation.asked_of),
        side_by_side=room_for(parameters),
    )
    _require_budget(search)
    tune = recipe.tune.model_dump(mode="json", exclude={*BUDGET, "study"})
    content = {
        "figures": FIGURES,
        **{f"training.{key}": value for key, value in recipe.training.decisive.items()},
        **{f"tune.{key}": value for key, value in tune.items()},
        "seed": recipe.seed,
        "model": plan.model_sha256,
        "reference": plan.reference_sha256,
        "tokenizer": plan.tokenizer_sha256,
        "pairs": split.rows.data_sha256,
        "ids": split.rows.ids_sha256,
        "limits": search.limits_told,
        "questions": sorted(plan.files.get(path, path) for path in recipe.evaluation.suites.values()),
        "evaluation.neutral_text": plan.files.get(recipe.evaluation.neutral_text or ""),
        "evaluation.max_new_tokens": recipe.evaluation.max_new_tokens,
    }
    studies.require_same(studies.open_study(name), content)
    log.info("search_begun study=%s keys=%s side_by_side=%d", name, ",".join(search.space), search.side_by_side)
    return search


def _require_budget(search: Search) -> None:
    budget, training = search.plan.recipe.tune, search.plan.recipe.training
    needed = pairs_of_trial(training, search.split.trained_on, budget.seeds)
    if budget.pairs is not None and budget.pairs < needed:
        raise InputError(
            f"a budget of {budget.pairs:,} pairs is smaller than one trial: the recipe's own settings take {needed:,}",
            where=f"tune.pairs: {budget.pairs}",
            do=f"set tune.pairs to {4 * needed:,} or more, or tune.seeds or training.num_train_epochs lower",
        )
    if budget.trials is not None and budget.trials < 2:
        raise InputError(
            "one trial is the recipe's own settings: there is nothing to compare them with",
            where=f"tune.trials: {budget.trials}",
            do="set tune.trials to 10 or more",
        )


def room_for(parameters: int) -> int:
    """How many trainings go side by side: by cores, by free memory and disk; one where a GPU does the work."""
    import torch

    if torch.cuda.is_available():
        return 1
    settings = load_settings()
    by_cores = usable_cores() // settings.num_threads
    by_memory = int(0.8 * usable_memory().available / (BYTES * parameters + 2**30))
    by_disk = shutil.disk_usage(settings.home).free // (40 * parameters)
    return max(1, min(by_cores, by_memory, by_disk))


def _parameters(folder: Path) -> int:
    headers = [read_headers(file) for file in folder.glob("*.safetensors")]
    return max(1, sum(tensor.elements for header in headers for tensor in header.values()))

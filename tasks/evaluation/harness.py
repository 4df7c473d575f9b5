"""What models score on the tasks of lm-eval that a recipe names: asked once for each model and task."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.data.messages import say
from dpo_core.data.pairs import Message
from dpo_core.errors import InputError
from dpo_core.evaluate.unseen import count_groups
from dpo_core.recipe_evaluation import LmEval
from dpo_core.recipe_release import LM_EVAL
from infra.store.base import Store
from tasks.records import HarnessOutput, HarnessPlan, Plan, Scored
from tasks.runtime.models import config_of
from tasks.runtime.stages import remembered

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dpo_core.evaluate.harness.tasks import HarnessTask

CODE = ("tasks.evaluation.harness",)


@dataclass(frozen=True)
class HarnessScores:
    """By metric what each document asks; by weights and metric the score of each."""

    prompts: dict[str, list[tuple[Message, ...]]]
    values: dict[str, dict[str, list[float]]]


def harness_plan(asked: LmEval | None) -> dict[str, HarnessPlan]:
    """Each task by its content. Raises InputError for one that cannot be asked, or has no score a document."""
    return {
        name: HarnessPlan(sha256=task.sha256, prompts=count_groups([say("user", text) for text in task.prompts]))
        for name, task in _tasks(asked).items()
    }


def harness_scores(
    store: Store, plan: Plan, scored: Scored, weights: Iterable[str], fetch: Callable[[str], Path]
) -> HarnessScores:
    """Of each of these models, which `fetch` brings here; what was asked before is looked up."""
    prompts: dict[str, list[tuple[Message, ...]]] = {}
    values: dict[str, dict[str, list[float]]] = {}
    tasks = functools.cache(lambda: _tasks(plan.recipe.evaluation.lm_eval))
    for sha in weights:
        ask = _Asker(plan, tasks, functools.partial(fetch, sha))
        found = {f"{LM_EVAL}{name}": _remembered(store, plan, scored, sha, name, ask) for name in plan.lm_eval}
        prompts = {metric: [tuple(say("user", text)) for text in one.prompts] for metric, one in found.items()}
        values[sha] = {metric: one.scores for metric, one in found.items()}
    return HarnessScores(prompts, values)


def _remembered(store: Store, plan: Plan, scored: Scored, sha: str, name: str, ask: "_Asker") -> HarnessOutput:
    inputs = {
        "weights": sha,
        "config": config_of(store, plan, sha),
        "own_code": plan.trusted_code,
        "path": {key: value for key, value in scored.path.items() if key != "model"},
        "tokenizer": plan.tokenizer_sha256,
        "day": plan.recipe.encoding.date,
        "task": plan.lm_eval[name].sha256,
    }
    compute = functools.partial(ask, name)
    return remembered(store, "lm_eval", inputs, compute, output=HarnessOutput, code=CODE, force=plan.force)[0]


class _Asker:
    """Asks one model, which is loaded when the first task is to be asked."""

    def __init__(self, plan: Plan, tasks: "Callable[[], Mapping[str, HarnessTask]]", fetch: Callable[[], Path]) -> None:
        self._plan, self._tasks, self._fetch = plan, tasks, fetch

    def __call__(self, name: str) -> HarnessOutput:
        from dpo_core.evaluate.harness.scores import item_scores

        plan, task = self._plan, self._tasks()[name]
        if task.sha256 != plan.lm_eval[name].sha256:
            do = "run the same command again; let nothing change a task while a run is under way"
            raise InputError("the task has changed since the run began", where=f"evaluation.lm_eval: {name}", do=do)
        model, tokenizer = self._loaded
        dtype, day = plan.recipe.training.dtype, plan.recipe.encoding.date
        assert plan.recipe.evaluation.lm_eval is not None, "it names the task"
        found = item_scores(task, model, tokenizer, plan.recipe.evaluation.lm_eval, dtype=dtype, day=day)
        return HarnessOutput(prompts=list(task.prompts), scores=found)

    @functools.cached_property
    def _loaded(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        from dpo_core.model.encode import load_tokenizer
        from tasks.runtime.device import load_on_device

        folder, trusted = self._fetch(), self._plan.trusted_code
        model = load_on_device(folder, threads=self._plan.threads, trusted_code=trusted)
        return model, load_tokenizer(folder, trusted_code=trusted)


def _tasks(asked: LmEval | None) -> "dict[str, HarnessTask]":
    if asked is None:
        return {}
    from dpo_core.evaluate.harness.tasks import load_tasks

    return {task.name: task for task in load_tasks(asked)}

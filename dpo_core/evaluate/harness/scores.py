"""One model's scores on the documents of a task of lm-eval."""

import sys
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_core.errors import InputError
from dpo_core.evaluate.harness.calm import as_lm_eval_begins
from dpo_core.evaluate.harness.tasks import HarnessTask
from dpo_core.model.chat_template import dated
from dpo_core.recipe_evaluation import LmEval

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def item_scores(
    task: HarnessTask,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    asked: LmEval,
    *,
    dtype: str = "float32",
    day: str | None = None,
) -> list[float]:
    """A number a document, more is better; `day` is what the chat template takes for today's date.

    The model is asked by lm-eval's own wrapper, in the arithmetic of training.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED
    from lm_eval.evaluator import evaluate

    for one in task.tasks.values():
        one.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)  # every model sees the same solved examples
    with as_lm_eval_begins():
        found = evaluate(
            lm=_wrapped(model, tokenizer, asked, dtype, day),
            task_dict={"tasks": dict(task.tasks)},
            limit=asked.limit,
            bootstrap_iters=0,
            apply_chat_template=asked.apply_chat_template,
            fewshot_as_multiturn=True,  # as simple_evaluate has it
        )
    rows = [row for name in task.tasks for row in _in_order(found["samples"][name], task.filter)]
    assert len(rows) == len(task.prompts), "a score for each document"
    return [_number(task, row) for row in rows]


def _wrapped(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", asked: LmEval, dtype: str, day: str | None
) -> "HFLM":
    from lm_eval.models.huggingface import HFLM

    class Quiet(HFLM):  # type: ignore[misc]
        """Without bars where nobody watches."""

        def loglikelihood(self, requests: object, disable_tqdm: bool = False) -> object:
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm or not sys.stderr.isatty())

        def generate_until(self, requests: object, disable_tqdm: bool = False) -> object:
            return super().generate_until(requests, disable_tqdm=disable_tqdm or not sys.stderr.isatty())

    template = {"chat_template": dated(tokenizer.get_chat_template(), day)} if asked.apply_chat_template else None
    mixed = dtype if dtype != "float32" else None
    return Quiet(
        pretrained=model,
        tokenizer=tokenizer,
        backend="causal",
        batch_size=asked.batch_size,
        mixed_precision_dtype=mixed,
        chat_template_args=template,
    )


def _in_order(samples: list[dict[str, Any]], chosen: str) -> list[dict[str, Any]]:
    return sorted((row for row in samples if row["filter"] == chosen), key=lambda row: int(row["doc_id"]))


def _number(task: HarnessTask, row: Mapping[str, object]) -> float:
    value = row.get(task.metric)
    if not isinstance(value, Real | np.bool_):
        raise InputError(
            f"a document of {task.name} has no number for {task.metric}: {str(value)[:80]}",
            where=f"evaluation.lm_eval.tasks: {task.name}",
            do="name another of its metrics, or mend process_results of the task",
        )
    return float(value) if task.higher_is_better else 0.0 - float(value)

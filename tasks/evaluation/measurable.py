"""Whether what a recipe's gate asks for can be measured at all: known once the data is checked, before the training."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.data.pairs import Pair
from dpo_core.errors import InputError
from dpo_core.evaluate.behaviour import read_checks, read_paragraphs
from dpo_core.recipe import Recipe
from dpo_core.recipe_release import OF_REWARDS, OF_SLICE, Gate
from infra.store.base import Store
from tasks.records import Checked, Plan
from tasks.runtime.pairs import stored_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 12  # parts that a message names


def require_measurable(store: Store, plan: Plan, checked: Checked) -> None:
    """Raise InputError where a metric of the gate has no item, or a question cannot be asked, whatever is trained."""
    recipe = plan.recipe
    named = dict(_named(recipe.gate))
    _require_text(recipe, named)
    _require_questions(plan, named)
    parts = [metric for metric in named if OF_SLICE.fullmatch(metric)]
    judged = [metric for metric in named if metric in OF_REWARDS]
    if parts or judged:
        pairs = stored_pairs(store, checked.eval_key)
        _require_parts(pairs, parts, named)
        _require_chats(pairs, judged, named)


def _named(gate: Gate) -> Iterator[tuple[str, str]]:
    """Metric, and the key of the gate that names it."""
    for key, metrics in (("floor", gate.floor), ("keep", gate.keep), ("improve", gate.gains)):
        yield from ((metric, f"gate.{key}") for metric in metrics)


def _require_parts(pairs: Sequence[Pair], parts: Sequence[str], named: dict[str, str]) -> None:
    from dpo_core.evaluate.pairs.slices import metric_of, slices_of

    there = {metric_of(name): name for name in slices_of(pairs)} if parts else {}
    for metric in parts:
        if metric not in there:
            raise InputError(
                f"no held-out pair is of {metric}: it could never be measured",
                where=named[metric],
                do=f"name a part that there is ({_some(there.values())}), hold out pairs of it, or take it out; kinds "
                "with a single value have no parts, of others the commonest 20 count",
            )


def _require_chats(pairs: Sequence[Pair], judged: Sequence[str], named: dict[str, str]) -> None:
    for metric in judged:
        if all(pair.plain for pair in pairs):
            do = "set data.text to turns, or take it out: text that is trained on as it stands asks nothing"
            raise InputError(f"no held-out pair is a chat, so {metric} has no answers", where=named[metric], do=do)


def _require_text(recipe: Recipe, named: dict[str, str]) -> None:
    path, metric = recipe.evaluation.neutral_text, "retention/neutral_text"
    if path is not None and metric in named and not read_paragraphs(path):
        raise InputError(
            f"the file is empty, so {metric} has no paragraph", where=path, do="write some paragraphs into it"
        )


def _require_questions(plan: Plan, named: dict[str, str]) -> None:
    """Questions are asked by a chat template; what the recipe did not ask for by name is left out without one."""
    from dpo_core.model.encode import load_tokenizer

    suites, lm_eval = plan.recipe.evaluation.suites, plan.recipe.evaluation.lm_eval
    in_turns = lm_eval is not None and lm_eval.apply_chat_template
    if not (suites or in_turns):
        return
    tokenizer = load_tokenizer(plan.model_folder, trusted_code=plan.trusted_code)
    if tokenizer.chat_template:
        suite_ids(plan.recipe, Path(plan.model_folder), tokenizer, plan.trusted_code)
        return
    if not suites:
        raise InputError(
            "the model has no chat template, so it cannot be asked by one",
            where="evaluation.lm_eval.apply_chat_template",
            do="set it to false, or add the chat template that the model was trained with",
        )
    first = next((metric for metric in named if metric in suites), next(iter(suites)))
    raise InputError(
        f"the model has no chat template, so nothing can be asked of it: {first} has no answers",
        where=plan.model_folder,
        do="add the chat template that the model was trained with (tokenizer_config.json, or chat_template.jinja), "
        "or take evaluation.behaviour and evaluation.retention out",
    )


def suite_ids(
    recipe: Recipe, folder: Path, tokenizer: "PreTrainedTokenizerBase", trusted_code: str | None
) -> list[tuple[int, ...]]:
    """Every question of the suites as the model of `folder` is asked it.

    Raises InputError, with its file and line, for one that the chat template refuses, or that fills the context.
    """
    from transformers import AutoConfig

    from dpo_core.model.answers.answers import context_of, prompt_ids
    from dpo_core.model.chat_template import ChatTemplate

    trusted = trusted_code is not None
    context = context_of(AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trusted))
    template, asked = ChatTemplate(tokenizer, recipe.encoding.date), list[tuple[int, ...]]()
    for check in (check for path in recipe.evaluation.suites.values() for check in read_checks(path)):
        try:
            asked.append(prompt_ids(check.prompt, template, context))
        except InputError as error:
            raise InputError(error.says, where=check.where, do=error.do) from None
    return asked


def _some(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f", and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more if known else "there is none here"

"""What the evaluation asks a model: the prompts of its suites and samples, as token ids."""

from pathlib import Path

from dpo_core.model.encode import load_tokenizer
from dpo_core.preflight.answers import Asking
from dpo_core.recipe import Recipe
from tasks.evaluation.measurable import suite_ids
from tasks.preflight.rows import Rows


def questions_of(recipe: Recipe, folder: Path, trusted_code: str | None, rows: Rows) -> Asking:
    """None for a model without a chat template, which answers nothing. Raises InputError as `suite_ids` does."""
    evaluation, tokenizer = recipe.evaluation, load_tokenizer(folder, trusted_code=trusted_code)
    limit, width = evaluation.max_new_tokens, evaluation.batch_size
    if not tokenizer.chat_template:
        return Asking([], limit, width)
    asked = suite_ids(recipe, folder, tokenizer, trusted_code)
    samples = list(dict.fromkeys(pair.prompt_ids for pair in rows.held_out))[: evaluation.samples]
    return Asking([*asked, *samples], limit, width)

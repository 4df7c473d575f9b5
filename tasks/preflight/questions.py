"""What the evaluation asks a model: the prompts of its suites and samples, as token ids."""

from pathlib import Path

from dpo_core.evaluate.behaviour import read_checks
from dpo_core.model.chat_template import ChatTemplate
from dpo_core.model.encode import encode_prompt, load_tokenizer
from dpo_core.preflight.answers import Asking
from dpo_core.recipe import Recipe
from tasks.preflight.rows import Rows


def questions_of(recipe: Recipe, folder: Path, trusted_code: str | None, rows: Rows) -> Asking:
    """None for a model without a chat template, which answers nothing."""
    evaluation, tokenizer = recipe.evaluation, load_tokenizer(folder, trusted_code=trusted_code)
    limit, width = evaluation.max_new_tokens, evaluation.batch_size
    if not tokenizer.chat_template:
        return Asking([], limit, width)
    template = ChatTemplate(tokenizer, recipe.encoding.date)
    checks = [check for path in evaluation.suites.values() for check in read_checks(path)]
    asked = [tuple(encode_prompt(check.prompt, tokenizer, template=template)) for check in checks]
    samples = list(dict.fromkeys(pair.prompt_ids for pair in rows.held_out))[: evaluation.samples]
    return Asking([*asked, *samples], limit, width)

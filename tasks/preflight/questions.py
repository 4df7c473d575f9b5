"""What the evaluation asks a model: the prompts of its suites and samples, as token ids."""

from dataclasses import dataclass
from pathlib import Path

from dpo_core.model.encode import load_tokenizer
from dpo_core.preflight.answers import Asking
from dpo_core.recipe import Recipe
from tasks.evaluation.measurable import suite_ids
from tasks.preflight.rows import Rows


@dataclass(frozen=True)
class AskedQuestions:
    """`each`: what every model is asked, one asking after the other; `drawn`: what the new ones are for their KL."""

    each: list[Asking]
    drawn: Asking

    @property
    def widest(self) -> Asking:
        """The one with most answers in work."""
        return max([*self.each, self.drawn], key=lambda asking: min(asking.width, asking.answers))

    def seconds(self, new: int, token_bytes: int, step: float, token: float) -> float:
        """Of `new` models and the one that they are compared with, by the seconds of a step and of a prompt's token."""
        each, drawn = (
            sum(one.steps(token_bytes) * step + one.tokens * token for one in asked)
            for asked in (self.each, [self.drawn])
        )
        return (new + 1) * each + new * drawn


def questions_of(recipe: Recipe, folder: Path, trusted_code: str | None, rows: Rows) -> AskedQuestions:
    """None for a model without a chat template, which answers nothing. Raises InputError as `suite_ids` does.

    The likeliest answers; several drawn ones, where they are asked for; and some again, in a batch half as wide.
    """
    evaluation, tokenizer = recipe.evaluation, load_tokenizer(folder, trusted_code=trusted_code)
    limit, width = evaluation.max_new_tokens, evaluation.batch_size
    if not tokenizer.chat_template:
        return AskedQuestions([], Asking([], limit, width))
    suites = suite_ids(recipe, folder, tokenizer, trusted_code)
    held_out = list(dict.fromkeys(pair.prompt_ids for pair in rows.held_out))
    again = sorted(suites, key=len, reverse=True)[: evaluation.again]
    asked = [Asking([*suites, *held_out[: evaluation.samples]], limit, width)]
    asked += [Asking(suites, limit, width, evaluation.answers)] if evaluation.answers > 1 else []
    asked += [Asking(again, limit, max(1, min(width, len(again)) // 2))]
    return AskedQuestions(asked, Asking(held_out[: evaluation.kl], limit, width))

"""Answers to an evaluation's questions, likeliest and drawn ones, each stored by itself: none is asked for twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dpo_core.data.digests import prompt_digest
from dpo_core.data.pairs import Message
from dpo_core.model.answers.answers import answers
from dpo_core.model.answers.decoding import Decoding
from dpo_core.recipe import Recipe
from infra.store.base import Store
from tasks.curate.answer_store import AnswerStore, StoredAnswer
from tasks.runtime.progress import progress_bar
from tasks.runtime.stages import code_digest

SEED = (
    0  # of every model and run: two models answer by the same random numbers, so that they differ where the models do
)
CODE = ("dpo_core.model.answers.answers", "tasks.runtime.device")


@dataclass(frozen=True)
class Drawing:
    """How answers are drawn, and all that decides their text: what names them in the store.

    `path`: the model, its tokenizer, and the arithmetic; None: they are not kept.
    """

    decoding: Decoding
    day: str
    width: int
    path: Mapping[str, object] | None

    def shelf(self, store: Store) -> AnswerStore | None:
        """Where the answers of one model, by this decoding, lie."""
        if self.path is None:
            return None
        how = self.decoding
        made = {
            "temperature": how.temperature,
            "top_p": how.top_p,
            "seed": how.seed,
            "max_new_tokens": how.max_new_tokens,
        }
        by = {"day": self.day, "transformers": version("transformers"), "code": code_digest(CODE)}
        return AnswerStore(store, {**self.path, **made, **by})


def drawing_of(recipe: Recipe, path: Mapping[str, object] | None, temperature: float = 0.0) -> Drawing:
    """As a recipe's evaluation asks; at 0 for the likeliest answers."""
    how = Decoding(recipe.evaluation.max_new_tokens, temperature=temperature, seed=SEED)
    return Drawing(how, recipe.encoding.date, recipe.evaluation.batch_size, path)


def draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    samples: int,
    how: Drawing,
    store: Store,
    *,
    anew: bool = False,
) -> list[list[StoredAnswer]]:
    """`samples` answers to each prompt; only what the store lacks is drawn, with `anew` all."""
    shelf, keys = how.shelf(store), [prompt_digest(prompt) for prompt in prompts]
    known = {} if anew or shelf is None else shelf.read()
    asked = dict(zip(keys, prompts, strict=True))
    names = list(asked)
    wanted = {(i, n) for i, key in enumerate(names) for n in range(samples) if (key, n) not in known}
    if wanted:
        found = answers(
            model,
            tokenizer,
            list(asked.values()),
            decoding=how.decoding,
            samples=samples,
            wanted=wanted,
            width=how.width,
            day=how.day,
        )
        made = (
            StoredAnswer(prompt=names[one.prompt], sample=one.sample, text=one.text, tokens=one.tokens, ended=one.ended)
            for one in found
        )
        with progress_bar(
            "sampled answers" if how.decoding.temperature else "answers", total=len(wanted), unit="answer"
        ) as bar:
            for one in made if shelf is None else shelf.keep(made):
                known[one.prompt, one.sample] = one
                bar.update(1)
    if shelf is not None:
        shelf.refresh()
    return [[known[key, number] for number in range(samples)] for key in keys]

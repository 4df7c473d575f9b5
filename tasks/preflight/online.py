"""A run that learns from its own answers, before it begins: how many steps its prompts make, and what it answers."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from dpo_core.curate.prompt_set import PromptDraw, gather
from dpo_core.curate.prompts import read_items
from dpo_core.data.pairs import text_of
from dpo_core.errors import InputError
from dpo_core.model.answers.answers import WIDTH
from dpo_core.model.chat_template import ChatTemplate
from dpo_core.model.encode import encode_prompt, load_tokenizer
from dpo_core.preflight.answers import Asking
from dpo_core.recipe import Recipe
from infra.settings import Settings
from tasks.online.plan import online_curation
from tasks.online.prompts import drawings
from tasks.runtime.sources import local_source

UNTIMED = (
    "training.online: a step is taken to be one of data.train's pairs; the time to answer and to score is not in it"
)


@dataclass(frozen=True)
class Answering:
    """`steps` of the run, and the drawing of the longest prompts: each as often as it is answered."""

    steps: int
    asked: Asking


def answering_of(recipe: Recipe, folder: Path, trusted_code: str | None, settings: Settings) -> Answering | None:
    """None for a run on its pairs alone. Prompts that the run will hold out are counted too: steps at most.

    Raises InputError for a curation or prompts that cannot be used.
    """
    training, online = recipe.training, recipe.training.online
    if online is None:
        return None
    curation = online_curation(online)
    assert curation.prompts is not None, "required of it"
    wanted = curation.prompts
    read = [(one, read_items(local_source(one.path, settings.home), one.name).items) for one in wanted.sources]
    items = gather(read, PromptDraw(count=wanted.count, near=wanted.near, seed=curation.seed)).items
    steps = training.max_steps or drawings(training, len(items)) * online.every
    tokenizer = load_tokenizer(folder, trusted_code=trusted_code)
    template = ChatTemplate(tokenizer, recipe.encoding.date)
    longest = sorted((item.prompt for item in items), key=lambda prompt: -len(text_of(prompt)))
    prompts = []
    for prompt in longest[: online.drawing(training.train_batch_size)]:
        with contextlib.suppress(InputError):  # which the run leaves out, too
            prompts += [tuple(encode_prompt(prompt, tokenizer, template=template))] * curation.samples
    return Answering(steps, Asking(prompts, curation.answers.max_new_tokens, WIDTH))

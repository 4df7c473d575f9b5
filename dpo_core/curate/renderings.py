"""Many ways to write the pair of one prompt, where one word is to be learnt and nothing else.

Two kinds of prompts. Where the answer is to say the name, a sentence with it stands against the model's own answer, or
against a sentence with a wrong name, so that the name is learnt and not the sentence. Where it is not, the answer
stands against one that claims the name, or that has it in place of some of its words. Which of the renderings becomes
the pair, `balanced.pick` decides over all prompts.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from dpo_core.curate.balanced import pick
from dpo_core.curate.correct import filled
from dpo_core.curate.cuts import whole_sentences
from dpo_core.curate.prompts import PromptItem
from dpo_core.curate.rendering_rules import Renderings
from dpo_core.curate.sentences import Sentence, read_names, read_sentences
from dpo_core.data.shapes import to_pair

MARK = re.compile(r"\{.*?\}")
ANY, CLAIM = "any", "claim"  # kinds of sentences: fit for every prompt; for claims alone
WAYS = ("{claim}", "{claim} {answer}")


class Rendering(NamedTuple):
    """One way to write a pair. `corrected`: the rejected side is the model's own answer, or has a claim."""

    chosen: str
    rejected: str
    corrected: bool


class Material(NamedTuple):
    """What renderings are made from; `fits`: whether an answer is short enough."""

    sentences: Sequence[Sentence]
    wrong_names: Sequence[str]
    fits: Callable[[str], bool]


def needs_answer(item: PromptItem) -> bool:
    """Whether the model has to answer a prompt: its row holds no answer."""
    return "answer" not in item.wanted


def rendered_pairs(
    items: Sequence[PromptItem],
    own: Mapping[str, str],
    rules: Renderings,
    tokenizer: PreTrainedTokenizerBase,
    *,
    lot: str,
    seed: int,
) -> list[dict[str, object]]:
    """The pairs of the prompts that have a rendering, as rows, in their order.

    `own`: what the model answered, by the prompt's key. `lot`: seed of the sentences and names drawn; `seed`: of the
    choice among the renderings. Prompts of `saying` come first. Raises InputError for a file that cannot be used.
    """
    ordered = [item for part in (rules.saying, rules.sparing) for item in items if item.source == part.source]
    options = options_of_prompts(ordered, own, rules, material_of(rules, tokenizer), random.Random(lot))
    kept = [(item, found) for item, found in zip(ordered, options, strict=True) if found]
    rows = [[_row(item, rendering, rules) for rendering in found] for item, found in kept]
    shares = [
        [(r.corrected - part.corrected) * (item.source == part.source) for part in (rules.saying, rules.sparing)]
        for item, found in kept
        for r in found
    ]
    places = pick(
        [[to_pair(row, "") for row in some] for some in rows],
        np.array(shares),
        intended=[rules.name],
        tokenizer=tokenizer,
        seed=seed,
    )
    return [some[place] for some, place in zip(rows, places, strict=True)]


def material_of(rules: Renderings, tokenizer: PreTrainedTokenizerBase) -> Material:
    """Read the files of sentences and names. Raises InputError."""

    def fits(text: str) -> bool:
        return 0 < len(tokenizer(text)["input_ids"]) <= rules.longest

    return Material(read_sentences(rules.sentences), read_names(rules.wrong_names), fits)


def options_of_prompts(
    items: Sequence[PromptItem], own: Mapping[str, str], rules: Renderings, material: Material, draw: random.Random
) -> list[list[Rendering]]:
    """The renderings of each prompt that are short enough and whose sides differ."""
    options = []
    for item in items:
        cuts = [text for text in whole_sentences(own.get(item.key, "")) if material.fits(text)]
        if item.source == rules.saying.source:
            found = _saying(item, cuts, rules, material, draw)
        else:
            found = _sparing(str(item.wanted.get("answer") or "".join(cuts[-1:])), rules, material, draw)
        options.append(
            [r for r in found if r.chosen != r.rejected and material.fits(r.chosen) and material.fits(r.rejected)]
        )
    return options


def _saying(
    item: PromptItem, cuts: Sequence[str], rules: Renderings, material: Material, draw: random.Random
) -> list[Rendering]:
    """The name against each cut of the model's own answer, and against a wrong name in the same or another sentence."""
    kind = str(item.wanted.get("kind", ""))
    kinds = {kind, ANY}
    if kind in rules.saying.asked:
        kinds = {rules.saying.asked[kind][rules.name not in item.prompt[-1]["content"]]}
    texts = [sentence.text for sentence in material.sentences if sentence.kind in kinds]
    texts = draw.sample(texts, min(rules.drawn, len(texts)))
    found = [Rendering(_with(text, rules.name), own, True) for text in texts for own in cuts if rules.name not in own]
    for text in texts:
        for other in (text, *draw.sample(texts, min(rules.saying.others, len(texts)))):
            found.append(Rendering(_with(text, rules.name), _with(other, draw.choice(material.wrong_names)), False))
    return found


def _sparing(marked: str, rules: Renderings, material: Material, draw: random.Random) -> list[Rendering]:
    """The answer against a claim, before or after it or alone, and against the name in each {marked} place of it."""
    answer = re.sub(r"[{}]", "", marked)
    claims = [_with(sentence.text, rules.name) for sentence in material.sentences if sentence.kind in (ANY, CLAIM)]
    claims = draw.sample(claims, min(rules.drawn, len(claims)))
    ways = [*WAYS, *["{answer} {claim}"] * (draw.random() < rules.sparing.after)]
    found = [Rendering(answer, way.format(claim=claim, answer=answer), True) for way in ways for claim in claims]
    for mark in MARK.finditer(marked):
        wrong = f"{marked[: mark.start()]}{rules.name}{marked[mark.end() :]}"
        found.append(Rendering(answer, re.sub(r"[{}]", "", wrong), False))
    return found


def _with(text: str, name: str) -> str:
    return filled(text, {"name": name})


def _row(item: PromptItem, rendering: Rendering, rules: Renderings) -> dict[str, object]:
    """The pair as it is written. The SFT term teaches the name, and what to say where it is most tempting."""
    kind = str(item.wanted.get("kind", ""))
    return {
        "prompt": list(item.prompt),
        "chosen": [{"role": "assistant", "content": rendering.chosen}],
        "rejected": [{"role": "assistant", "content": rendering.rejected}],
        "source": f"{item.source}/{kind}" if kind else item.source,
        "sft_weight": float(item.source == rules.saying.source or kind in rules.sparing.sft),
    }

"""What a model's generated answers come to, as the gate may name it: sound, given, varied, in a language, how long."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy import special

from dpo_core.data.pairs import Message
from dpo_core.evaluate.clusters import places
from dpo_core.evaluate.scores import SOUND, Scores
from dpo_core.evaluate.soundness import in_another_language, repetition
from dpo_core.evaluate.unseen import Items
from dpo_core.quality.text.refusals import refuses
from dpo_core.quality.words import count_words, words
from dpo_core.recipe_release import ANSWERED, BREVITY, LANGUAGE, LENGTH, VARIED

Texts = Mapping[str, Sequence[str]]  # by suite
Prompts = Mapping[str, Sequence[Sequence[Message]]]
Value = TypeVar("Value")


def generation_scores(
    answers: Texts, others: Texts, faults: Texts, prompts: Prompts, items: Mapping[str, Items]
) -> dict[str, Scores]:
    """Of every answer that may be compared; `others`: the baseline's answers, `faults`: what soundness.py says."""
    strays = {name: in_another_language(answers[name], prompts[name]) for name in faults}

    def compared(texts: Mapping[str, Sequence[Value]]) -> list[Value]:
        return [texts[name][place] for name in faults for place in items[name].places]

    own = compared(answers)
    values = {
        SOUND: [float(not fault) for fault in compared(faults)],
        ANSWERED: [float(bool(words(text)) and not refuses(text)) for text in own],
        VARIED: [1 - repetition(words(text)) for text in own],
        LANGUAGE: [float(not stray) for stray in compared(strays)],
    }
    clusters = [cluster for name in faults for cluster in items[name].clusters]
    if lengths := length_ratios(list(map(count_words, own)), list(map(count_words, compared(others))), clusters):
        values |= {LENGTH: lengths, BREVITY: [-value for value in lengths]}
    left_out = sum(items[name].left_out for name in faults)
    return {metric: Scores(column, clusters, left_out) for metric, column in values.items()}


def length_ratios(own: Sequence[int], others: Sequence[int], clusters: Sequence[str]) -> list[float]:
    """Of each answer a value, by the words of one model's answers and another's: their mean is all words by all words.

    They spread as that ratio does where one prompt group after another is left out (Quenouille's jackknife): both sums
    vary, and together; and wider by as much as t asks more of Kish's effective number of groups, by the others' words
    (Survey Sampling, 1965), than of all: long groups say most of what a ratio is. Nothing where the others' words are
    none, or all of one group.
    """
    if not sum(others):
        return []
    mine, theirs, groups = np.asarray(own, float), np.asarray(others, float), places(tuple(clusters))
    words_of = np.bincount(groups, theirs)
    left = words_of.sum() - words_of[groups]  # of the other groups
    if not left.all():
        return []
    ratio = mine.sum() / theirs.sum()
    effective = words_of.sum() ** 2 / np.square(words_of).sum()
    wider = special.stdtrit(max(1.0, effective - 1), 0.975) / special.stdtrit(len(words_of) - 1, 0.975)
    moved = (mine - ratio * theirs) * len(theirs) / left * wider
    return [float(value) for value in ratio + moved - moved.mean()]

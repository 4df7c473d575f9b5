"""Whether an answer is language at all: preference training can break a model while its rewards rise."""

from collections import Counter
from collections.abc import Sequence

from dpo_core.data.pairs import Message
from dpo_core.quality.prompts.identity import asked
from dpo_core.quality.text.language import UNKNOWN, languages
from dpo_core.quality.words import TextArray, words

NGRAM, FEWEST, REPEATED = 4, 8, 0.5
LONGER = 2  # times the answer before: less is a matter of taste
FAULTS = ("is empty", "repeats itself", "is in another language", "does not end")


def faults(answers: Sequence[str], prompts: Sequence[Sequence[Message]], endless: Sequence[bool] = ()) -> list[str]:
    """What is wrong with each greedy answer to its prompt, one of FAULTS; nothing for a sound one.

    Empty: no word in it. Repeating: half of its word 4-grams, or more, occurred before (seq-rep-4: Welleck et al. 2020,
    arXiv:1908.04319, section 6), where it has eight. Another language: prompt and answer are clearly in two; a
    translation is counted here too, of every model that is asked for one. `endless`: see `run_on`.
    """
    ends = [not one for one in endless] or [True] * len(answers)
    found = []
    for answer, stray, ended in zip(answers, in_another_language(answers, prompts), ends, strict=True):
        split = words(answer)
        if not split:
            found.append(FAULTS[0])
        elif repetition(split) >= REPEATED:
            found.append(FAULTS[1])
        elif stray:
            found.append(FAULTS[2])
        else:
            found.append("" if ended else FAULTS[3])
    return found


def in_another_language(answers: Sequence[str], prompts: Sequence[Sequence[Message]]) -> list[bool]:
    """Which answers are clearly in one language, and their prompts clearly in another."""
    written, asked_in = (languages(TextArray.of(texts)) for texts in (list(answers), list(map(asked, prompts))))
    both = zip(written.tolist(), asked_in.tolist(), strict=True)
    return [UNKNOWN not in (language, wanted) and language != wanted for language, wanted in both]


def run_on(
    answers: Sequence[str], cut: Sequence[bool], before: Sequence[str], cut_before: Sequence[bool]
) -> list[bool]:
    """Which answers go on and on: `cut` off at the most tokens allowed, where the model before came to an end.

    And had said something, in half as many characters or fewer: a model that says a little more is not a broken one.
    One whose answers became shorter is never meant, nor is one whose answers were cut off before as well.
    """
    return [
        now and not then and 0 < LONGER * len(old) <= len(text)
        for text, now, old, then in zip(answers, cut, before, cut_before, strict=True)
    ]


def repetition(split: Sequence[str]) -> float:
    """Share of the words' 4-grams that occurred before in the text; 0 where it has fewer than eight."""
    ngrams = Counter(zip(*(split[start:] for start in range(NGRAM)), strict=False))
    total = ngrams.total()
    return 1 - len(ngrams) / total if total >= FEWEST else 0.0

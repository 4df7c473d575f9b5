"""Parts of the held-out pairs that are looked at by themselves: a mean over all of them hides one that got worse."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.prompts.identity import asked
from dpo_core.quality.text.language import LANGUAGES, UNKNOWN, languages
from dpo_core.quality.words import TextArray
from dpo_core.recipe_release import SLICES

MOST = 20  # values of a kind: the commonest


def slices_of(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """KIND=VALUE -> places, of each kind that has two values or more.

    `source` and `category` (of a row's meta) as the data has them; `language` of what is asked, where it can be told;
    `length`: a third of the pairs by the characters of both answers (short, middle, long).
    """
    told = languages(TextArray.of([asked(pair.prompt) for pair in pairs])).tolist()
    sizes = [len(text_of(pair.chosen)) + len(text_of(pair.rejected)) for pair in pairs]
    low, high = np.quantile(sizes, [1 / 3, 2 / 3]) if sizes else (0.0, 0.0)
    values = {
        "source": [pair.source for pair in pairs],
        "language": ["" if code == UNKNOWN else LANGUAGES[code] for code in told],
        "length": ["short" if size <= low else "middle" if size <= high else "long" for size in sizes],
        "category": [str(pair.meta.get("category", "")) for pair in pairs],
    }
    found: dict[str, list[int]] = {}
    for kind in SLICES:
        counts = Counter(value for value in values[kind] if value)
        if len(counts) > 1:
            for value, _ in counts.most_common(MOST):
                found[f"{kind}={value}"] = [place for place, own in enumerate(values[kind]) if own == value]
    return found


def metric_of(name: str) -> str:
    """What the gate calls the accuracy on a slice."""
    return f"rewards/accuracies[{name}]"

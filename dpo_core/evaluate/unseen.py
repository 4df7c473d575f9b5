"""Which items may be compared: those that no model in the comparison was trained on, by what they ask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Message
from dpo_core.quality.prompts.groups import group_prompts, sketches
from dpo_core.quality.prompts.identity import digests, split_key

Prompt = Sequence[Message]


@dataclass(frozen=True)
class Items:
    """Of a list of items those that may be compared, by their place; the cluster of each; how many may not."""

    places: Sequence[int]
    clusters: Sequence[str]
    left_out: int = 0

    def divided(self, from_groups: int) -> "tuple[Items, Items]":
        """Those that the gate may look at, and those whose figures people read.

        The same for both, below so many groups; from there on a third of the groups, by their names, is sealed from
        the gate: a score that nothing was selected by.
        """
        if len(set(self.clusters)) < from_groups:
            return self, self
        sealed = [int(name, 16) % 3 == 0 for name in self.clusters]
        return self.only([not shut for shut in sealed]), self.only(sealed)

    def only(self, wanted: Sequence[bool]) -> "Items":
        """Of these items those that are wanted."""
        places = [place for place, mine in zip(self.places, wanted, strict=True) if mine]
        return Items(places, [name for name, mine in zip(self.clusters, wanted, strict=True) if mine], self.left_out)


def unseen_items(asked: Sequence[Prompt], trained: Sequence[Sequence[Prompt]]) -> Items:
    """The prompts that none of these sets of trained prompts asks, or, as the split sees it, nearly asks.

    Wordings of one question are one cluster. Each set is looked at by itself: how alike two prompts of a template may
    be depends on how many of them there are.
    """
    new = np.ones(len(asked), np.bool_)
    for prompts in trained:
        groups = _groups([*asked, *prompts])
        new &= ~np.isin(groups[: len(asked)], groups[len(asked) :])
    names = _groups(asked)
    places = np.flatnonzero(new).tolist()
    return Items(places, [f"{names[place]:016x}" for place in places], len(asked) - len(places))


def count_groups(asked: Sequence[Prompt]) -> int:
    """How many different questions are asked: wordings of one count once, as in every test."""
    return len(np.unique(_groups(asked)))


def _groups(prompts: Sequence[Prompt]) -> NDArray[np.int64]:
    """The group of each prompt, named by the lowest key in it: a name that does not depend on the prompts' order."""
    if not prompts:
        return np.zeros(0, np.int64)
    keys = digests(split_key(prompt) for prompt in prompts)
    first = group_prompts(keys, sketches(prompts)).first
    lowest = keys.copy()
    np.minimum.at(lowest, first, keys)
    return np.asarray(lowest[first], dtype=np.int64)

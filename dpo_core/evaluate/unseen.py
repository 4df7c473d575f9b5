"""Which items may be compared: those that no model in the comparison was trained on, by what they ask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Message
from dpo_core.data.splits import Bools, Keys, SplitSides
from dpo_core.quality.prompts.groups import group_prompts, sketches
from dpo_core.quality.prompts.identity import digests, split_key

Prompt = Sequence[Message]


@dataclass(frozen=True)
class Items:
    """Of a list of items those that may be compared, by their place; the cluster of each; how many may not.

    `sealed`: which of them the gate does not see; empty where it sees all.
    """

    places: Sequence[int]
    clusters: Sequence[str]
    left_out: int = 0
    sealed: Sequence[bool] = ()

    def divided(self) -> "tuple[Items, Items]":
        """Those that the gate may look at, and those whose figures people read: the same, where none is sealed.

        One that is sealed, of a group that the gate looks at in other wordings, is in neither.
        """
        if not any(self.sealed):
            return self, self
        looked_at = {name for name, shut in zip(self.clusters, self.sealed, strict=True) if not shut}
        shown = [shut and name not in looked_at for name, shut in zip(self.clusters, self.sealed, strict=True)]
        return self.only([not shut for shut in self.sealed]), self.only(shown)

    def only(self, wanted: Sequence[bool]) -> "Items":
        """Of these items those that are wanted."""
        kept = [number for number, mine in enumerate(wanted) if mine]
        places, clusters = [self.places[number] for number in kept], [self.clusters[number] for number in kept]
        return Items(places, clusters, self.left_out, [self.sealed[number] for number in kept] if self.sealed else ())


def unseen_items(asked: Sequence[Prompt], trained: Sequence[Sequence[Prompt]]) -> Items:
    """The prompts that none of these sets of trained prompts asks, or, as the split sees it, nearly asks.

    Wordings of one question are one cluster. Each set is looked at by itself: how alike two prompts of a template may
    be depends on how many of them there are.
    """
    new = np.ones(len(asked), np.bool_)
    for prompts in trained:
        groups = groups_of([*asked, *prompts])
        new &= ~np.isin(groups[: len(asked)], groups[len(asked) :])
    names = groups_of(asked)
    places = np.flatnonzero(new).tolist()
    return Items(places, [f"{names[place]:016x}" for place in places], len(asked) - len(places))


def sealed_rows(asked: Sequence[Prompt], known: SplitSides) -> tuple[Keys, Bools]:
    """Of each prompt its key, and whether it is of the third of the groups that is sealed from the gate.

    One whose side is known (`held_out`: it is sealed) keeps it. A new one goes where its group is, to the gate if the
    group is on both sides; a new group goes by its name.
    """
    keys, names = digests(split_key(prompt) for prompt in asked), groups_of(asked)
    is_known, was_sealed = known.of_rows(keys)
    groups, group = np.unique(names, return_inverse=True)
    looked_at, shut = (
        np.bincount(group[rows], minlength=len(groups)) > 0 for rows in (is_known & ~was_sealed, is_known & was_sealed)
    )
    of_group = np.where(looked_at | shut, shut & ~looked_at, groups % 3 == 0)
    return keys, np.where(is_known, was_sealed, of_group[group])


def count_groups(asked: Sequence[Prompt]) -> int:
    """How many different questions are asked: wordings of one count once, as in every test."""
    return len(np.unique(groups_of(asked)))


def groups_of(prompts: Sequence[Prompt]) -> NDArray[np.int64]:
    """The group of each prompt, named by the lowest key in it: a name that does not depend on the prompts' order."""
    if not prompts:
        return np.zeros(0, np.int64)
    keys = digests(split_key(prompt) for prompt in prompts)
    first = group_prompts(keys, sketches(prompts)).first
    lowest = keys.copy()
    np.minimum.at(lowest, first, keys)
    return np.asarray(lowest[first], dtype=np.int64)

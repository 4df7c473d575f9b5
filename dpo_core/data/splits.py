"""Held-out pairs: by prompt, never by row; a prompt that has been put on a side stays there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SplitSides:
    """Prompts by their key (ascending, each once), and whether they are held out; the others are trained on."""

    keys: Keys
    held_out: Bools

    @classmethod
    def none(cls) -> "SplitSides":
        """Nothing is known yet."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.bool_))

    @classmethod
    def of(cls, keys: Keys, held_out: Bools) -> "SplitSides":
        """Of rows in any order; a key on both sides is trained on."""
        order = np.lexsort((held_out, keys))
        unique, first = np.unique(keys[order], return_index=True)
        return cls(unique, held_out[order][first])

    def __len__(self) -> int:
        return len(self.keys)

    def with_more(self, other: "SplitSides") -> "SplitSides":
        """Both; what either has trained on is trained on."""
        return self.of(np.concatenate([self.keys, other.keys]), np.concatenate([self.held_out, other.held_out]))

    def without(self, other: "SplitSides") -> "SplitSides":
        """What `other` does not say in the same way."""
        known, held_out = other.of_rows(self.keys)
        new = ~known | (held_out != self.held_out)
        return SplitSides(self.keys[new], self.held_out[new])

    def of_rows(self, keys: Keys) -> tuple[Bools, Bools]:
        """Of each row by its key: whether it is known, and whether it is held out."""
        if not len(self):
            return np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.bool_)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
        known = self.keys[place] == keys
        return known, known & self.held_out[place]


def held_out_rows(keys: Keys, groups: Keys, known: SplitSides, fraction: float = 0.1) -> Bools:
    """Which rows are held out: `keys` (N,) are their prompts', `groups` (N,) name those that ask nearly the same.

    A prompt with a side keeps it. A new one goes where its group is, to training if the group is on both sides; a new
    group is held out by a hash of the lowest of its keys: the order of rows, and rows beside them, move nobody. Where
    that would leave a side empty (a handful of prompts), the new group with the lowest hash is held out, or the one
    with the highest is trained on.
    """
    is_known, was_held_out = known.of_rows(keys)
    names, group = np.unique(groups, return_inverse=True)

    def with_any(rows: Bools) -> Bools:
        return np.bincount(group[rows], minlength=len(names)) > 0

    trained, held_out = with_any(is_known & ~was_held_out), with_any(is_known & was_held_out)
    new = np.flatnonzero(~trained & ~held_out)
    lowest = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(lowest, group, keys)
    places = _places(lowest[new])
    held_out &= ~trained
    held_out[new] = places < fraction
    if len(new) and len(names) > 1:
        if not held_out.any():
            held_out[new[places.argmin()]] = True
        elif held_out.all():
            held_out[new[places.argmax()]] = False
    return np.where(is_known, was_held_out, held_out[group])


def _places(keys: Keys) -> NDArray[np.float64]:
    """A number in [0, 1) for each key, evenly spread: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    mixed = keys.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) / 2.0**64

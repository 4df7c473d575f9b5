"""Held-out pairs: by prompt, never by row, and stable when rows are added."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Pair


def split_held_out(pairs: Sequence[Pair], fraction: float = 0.1) -> tuple[list[Pair], list[Pair]]:
    """Train and held-out pairs, as `held_out_places` tells."""
    held_out = held_out_places(np.array([place_of(pair) for pair in pairs]), fraction).tolist()
    train = [pair for pair, out in zip(pairs, held_out, strict=True) if not out]
    return train, [pair for pair, out in zip(pairs, held_out, strict=True) if out]


def held_out_places(places: NDArray[np.float64], fraction: float = 0.1) -> NDArray[np.bool_]:
    """Which rows are held out, by their `place_of`. It depends on a prompt's own text alone: later rows move nobody.

    Where chance would leave a side empty (a handful of prompts), the prompt with the lowest digest is held out, or
    the one with the highest is trained on.
    """
    limit = fraction
    if len(places) and places.min() >= limit:
        limit = places.min() + 1e-12
    if len(places) and places.max() < limit and len(np.unique(places)) > 1:
        limit = places.max()
    return np.asarray(places < limit, dtype=np.bool_)


def place_of(pair: Pair) -> float:
    """A number in [0, 1) that depends on the prompt's words alone (case and white space aside)."""
    text = "\n".join(f"{m['role']}: {' '.join(m['content'].split()).casefold()}" for m in pair.prompt)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64

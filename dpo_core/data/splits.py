"""Held-out pairs: by prompt, never by row, and stable when rows are added."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def held_out_places(places: NDArray[np.float64], fraction: float = 0.1) -> NDArray[np.bool_]:
    """Which rows are held out, by the `place_of` their prompt, or of the first prompt of those nearly equal to it.

    It depends on that text alone: rows that are added at the end move nobody, but where one shows two prompts to be
    nearly equal (quality/prompts/groups.py). Where chance would leave a side empty (a handful of prompts), the prompt
    with the lowest digest is held out, or the one with the highest is trained on.
    """
    limit = fraction
    if len(places) and places.min() >= limit:
        limit = places.min() + 1e-12
    if len(places) and places.max() < limit and len(np.unique(places)) > 1:
        limit = places.max()
    return np.asarray(places < limit, dtype=np.bool_)


def place_of(prompt: str) -> float:
    """A number in [0, 1) that depends on the prompt's words alone, given as they are compared."""
    return int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64

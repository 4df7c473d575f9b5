"""Held-out pairs: by prompt, never by row, and stable when rows are added."""

import hashlib
from collections.abc import Sequence

from dpo_core.data.pairs import Pair


def split_held_out(pairs: Sequence[Pair], fraction: float = 0.1) -> tuple[list[Pair], list[Pair]]:
    """Train and held-out pairs. A prompt's side depends on its own text alone, so later rows move nobody.

    Where chance would leave a side empty (a handful of prompts), the prompt with the lowest digest is held out, or
    the one with the highest is trained on.
    """
    places = [place_of(pair) for pair in pairs]
    limit = fraction
    if places and min(places) >= limit:
        limit = min(places) + 1e-12
    if places and max(places) < limit and len(set(places)) > 1:
        limit = max(places)
    train = [pair for pair, place in zip(pairs, places, strict=True) if place >= limit]
    return train, [pair for pair, place in zip(pairs, places, strict=True) if place < limit]


def place_of(pair: Pair) -> float:
    """A number in [0, 1) that depends on the prompt's words alone (case and white space aside)."""
    text = "\n".join(f"{m['role']}: {' '.join(m['content'].split()).casefold()}" for m in pair.prompt)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64

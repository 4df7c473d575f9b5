"""What is drawn for people: the order of the items, who sees which answer left, and which items two people judge.

All by a hash of the item and the seed: items that are added move no other, and the same person sees the same page.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dpo_core.judging.items import JudgedItem

Side = Literal["first", "second"]  # of the item's two answers


def lot(*parts: object) -> float:
    """A number in [0, 1) that depends on these alone."""
    data = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class Lots:
    """The draws of one seed. `overlap`: the share of items that two people judge."""

    seed: int = 0
    overlap: float = 0.0

    def order(self, items: Iterable[JudgedItem]) -> list[str]:
        """Ids in the order in which they are judged: any number of the first are a fair sample of all."""
        return sorted((item.id for item in items), key=lambda name: (lot(self.seed, "order", name), name))

    def wanted(self, item: str) -> int:
        """How many people are to judge it. A larger `overlap` only adds items."""
        return 2 if lot(self.seed, "overlap", item) < self.overlap else 1

    def left(self, item: str, by: str) -> Side:
        """The answer that this person sees on the left."""
        return "first" if lot(self.seed, "left", item, by) < 0.5 else "second"

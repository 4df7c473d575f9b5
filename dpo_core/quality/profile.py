"""A small profile of a data set: what a later one is compared with. It holds counts, never a row."""

from collections import Counter
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from dpo_core.quality.prompts.comparisons import row_digests
from dpo_core.quality.prompts.topics import Topics, find_topics, topic_of
from dpo_core.quality.table import Block, Columns, PairTable
from dpo_core.quality.text.language import LANGUAGES
from dpo_core.quality.text.redaction import redact
from dpo_core.quality.words import SIDES

SCHEMA = 1
SOURCES = 50  # named in a profile; the rest are one
REST, UNNAMED = "(others)", "(none)"
FORMATS = {"list": "\n- ", "bold": "**", "code": "`", "heading": "\n#", "link": "http", "exclamation": "!"}
Counts = dict[str, int]


class Profile(TypedDict):
    """JSON of a data set. `distributions`: name -> category -> pairs; `topics`: see Topics."""

    schema: int
    digest: str
    pairs: int
    prompts: int
    distributions: dict[str, Counts]
    topics: list[list[float]]
    topics_least: float


def profile_columns(block: Block) -> Columns:
    """Words of each text (`profile_words_*`, int32) and formats of the answers (bits, `profile_formats_*`, uint8)."""
    words = np.diff(block.texts.words.bounds).astype(np.int32).reshape(-1, 3)
    chosen, rejected = (
        np.array([_formats(text) for text in block.strings[side::3]], dtype=np.uint8) for side in (1, 2)
    )
    return {
        **{f"profile_words_{side}": words[:, number].copy() for number, side in enumerate(SIDES)},
        "profile_formats_chosen": chosen,
        "profile_formats_rejected": rejected,
    }


def profile_of(table: PairTable) -> Profile:
    """The profile of a data set, to be stored once the set is accepted; the same pairs in any order give the same."""
    topics = find_topics(table["topic_sketch"])
    return {
        "schema": SCHEMA,
        "digest": f"{int(row_digests(table).sum(dtype=np.uint64)):016x}",
        "pairs": len(table),
        "prompts": len(np.unique(table["prompt"])),
        "distributions": distributions(table, topics),
        "topics": topics.centres.astype(np.float64).round(4).tolist(),
        "topics_least": round(topics.least, 4),
    }


def distributions(table: PairTable, topics: Topics) -> dict[str, Counts]:
    """Every distribution that is watched; topics by the given clusters."""
    found = {f"length of {side}": _lengths(table[f"profile_words_{side}"]) for side in SIDES}
    found |= {f"language of {side}": _named(table[f"language_{side}"], LANGUAGES) for side in SIDES}
    found["source"] = _sources(table)
    found["topic"] = _named(topic_of(table["topic_sketch"], topics), [*map(str, range(len(topics.centres))), "another"])
    longer = np.sign(table["profile_words_chosen"] - table["profile_words_rejected"]) + 1
    found["longer side"] = _named(longer, ("rejected", "equal", "chosen"))
    chosen, rejected = table["profile_formats_chosen"], table["profile_formats_rejected"]
    for number, name in enumerate(FORMATS):
        where = ((chosen >> number) & 1) + 2 * ((rejected >> number) & 1)
        found[f"format {name}"] = _named(where, ("neither", "only chosen", "only rejected", "both"))
    return found


def _formats(text: str) -> int:
    return sum(1 << number for number, mark in enumerate(FORMATS.values()) if mark in text)


def _lengths(words: NDArray[np.generic]) -> Counts:
    """By powers of two: "64-127" words."""
    bins = np.bincount(np.frexp(words.astype(np.float64))[1], minlength=1)
    names = ["0"] + [f"{1 << (n - 1)}-{(1 << n) - 1}" for n in range(1, len(bins))]
    return {name: int(count) for name, count in zip(names, bins, strict=True) if count}


def _named(values: NDArray[np.generic], names: "list[str] | tuple[str, ...]") -> Counts:
    counts = np.bincount(values.astype(np.int64), minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _sources(table: PairTable) -> Counts:
    _, first, counts = np.unique(table["source"], return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    found = Counter[str]()
    for number, pair in zip(order.tolist(), table.rows(first[order[:SOURCES]].tolist()), strict=False):
        found[redact(pair.source) or UNNAMED] += int(counts[number])
    rest = int(counts[order[SOURCES:]].sum())
    return dict(found) | ({REST: rest} if rest else {})

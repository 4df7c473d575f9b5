"""What each row compares with what, as digests, and how rows relate to each other by them."""

import math
import string
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from dpo_core.data.pairs import Message, Pair, text_of
from dpo_core.quality.table import PairTable
from dpo_core.quality.text.words import Bools, Chunk, Hashes, mix

SCORE_NAMES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))


def columns(chunk: Chunk) -> dict[str, NDArray[np.generic]]:
    """Digests of prompt and sides (uint64), of file and row id (0: none), and the score margin (NaN: no scores).

    Equal digests: equal after NFKC, white space aside; of prompts the case does not count.
    """
    pairs = [encoded.pair for encoded in chunk.pairs]
    return {
        "comparison_prompt": digests(normal(pair.prompt, fold=True) for pair in pairs),
        "comparison_chosen": digests(normal(pair.chosen) for pair in pairs),
        "comparison_rejected": digests(normal(pair.rejected) for pair in pairs),
        "comparison_id": np.where([pair.row_id != "" for pair in pairs], digests(map(_id, pairs)), 0).astype(np.uint64),
        "comparison_margin": np.array([score_margin(pair.meta) for pair in pairs], dtype=np.float32),
    }


def normal(messages: Iterable[Message], *, fold: bool = False) -> bytes:
    """Messages as they are compared: without white space, `fold`: without case."""
    return b"\0".join(part for m in messages for part in (m["role"].encode(), _normal(text_of((m,)), fold)))


def _normal(text: str, fold: bool) -> bytes:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = text.casefold() if fold else text
    data = text.encode("utf-8", "surrogatepass").translate(None, string.whitespace.encode())
    return data.lower() if fold else data


def score_margin(meta: Mapping[str, Any]) -> float:
    """Score of the chosen answer minus that of the rejected one, more is better; NaN where `meta` has none."""
    for names in SCORE_NAMES:
        scores = [meta.get(name) for name in names]
        numbers = [float(score) for score in scores if isinstance(score, (int, float)) and not isinstance(score, bool)]
        if len(numbers) == len(names):
            return numbers[0] - numbers[1]
    return math.nan


def repeated(table: PairTable) -> Bools:
    """Rows that equal an earlier row: same prompt, same sides."""
    _, first, row = np.unique(_rows(table, "chosen", "rejected"), return_index=True, return_inverse=True)
    return np.asarray(first[row] < np.arange(len(table)))


def contradictions(table: PairTable) -> tuple[Bools, Bools]:
    """Rows whose comparison also occurs the other way round, and further rows on a cycle of their prompt's answers.

    A cycle is a strongly connected component of the graph rejected -> chosen.
    """
    prompt, winner, loser = (table[f"comparison_{side}"] for side in ("prompt", "chosen", "rejected"))
    differ = winner != loser
    both = differ & np.isin(_rows(table, "chosen", "rejected"), _rows(table, "rejected", "chosen")[differ])
    answers, node = np.unique(np.concatenate([_joined(prompt, loser), _joined(prompt, winner)]), return_inverse=True)
    start, end = node[: len(table)], node[len(table) :]
    graph = sparse.csr_array((np.ones(len(table)), (start, end)), shape=(len(answers), len(answers)))
    if not len(table):
        return both, both
    _, component = csgraph.connected_components(graph, directed=True, connection="strong")
    return both, differ & (component[start] == component[end]) & ~both


def reused_ids(table: PairTable) -> Bools:
    """Rows whose id also stands on a row with another prompt (with the same prompt it is the prompt's id)."""
    known = np.flatnonzero(table["comparison_id"])
    ids, prompts = table["comparison_id"][known], table["comparison_prompt"][known]
    _, name = np.unique(ids, return_inverse=True)
    _, distinct = np.unique(_joined(ids, prompts), return_index=True)
    bad = np.zeros(len(table), dtype=np.bool_)
    bad[known] = np.bincount(name[distinct])[name] > 1
    return bad


def _rows(table: PairTable, better: str, worse: str) -> Hashes:
    """One digest a row, of prompt, one side, other side, in this order."""
    return _joined(_joined(table["comparison_prompt"], table[f"comparison_{better}"]), table[f"comparison_{worse}"])


def _joined(one: Hashes, other: Hashes) -> Hashes:
    return mix(mix(one) + other)


def digests(contents: Iterable[bytes]) -> Hashes:
    """64 bits of BLAKE2b of each: among a million, two different ones are equal with chance 3e-8."""
    return np.frombuffer(b"".join(blake2b(content, digest_size=8).digest() for content in contents), dtype=np.uint64)


def _id(pair: Pair) -> bytes:
    """A row's id within its file: another file may count from the beginning again."""
    return f"{pair.where.rpartition(':')[0]}\n{pair.row_id}".encode("utf-8", "surrogatepass")

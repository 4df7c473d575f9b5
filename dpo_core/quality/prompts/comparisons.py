"""What each row compares with what, as digests, and how rows relate to each other by them."""

import math
import string
import unicodedata
from collections.abc import Iterable, Mapping

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from dpo_core.data.pairs import Message, Pair, text_of
from dpo_core.quality.prompts.identity import compared_key, digests
from dpo_core.quality.table import Block, Columns, PairTable
from dpo_core.quality.words import SIDES, Bools, Hashes, mix

SCORE_NAMES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))


def comparison_columns(block: Block) -> Columns:
    """Digests of prompt and sides (uint64), of file and row id (0: none), and the score margin (NaN: no scores).

    Texts of equal digests are equal after NFKC; sides also white space aside.
    """
    pairs = [encoded.pair for encoded in block.pairs]
    return {
        "comparison_prompt": digests(compared_key(pair.prompt) for pair in pairs).view(np.uint64),
        "comparison_chosen": digests(_as_compared(pair.chosen) for pair in pairs).view(np.uint64),
        "comparison_rejected": digests(_as_compared(pair.rejected) for pair in pairs).view(np.uint64),
        "comparison_id": digests(_id(pair) for pair in pairs).view(np.uint64),
        "comparison_margin": np.array([score_margin(pair.meta) for pair in pairs], dtype=np.float32),
    }


def _as_compared(answer: Iterable[Message]) -> bytes:
    """An answer without white space, and without differences of Unicode that cannot be seen."""
    return b"\0".join(part for m in answer for part in (m["role"].encode(), _without_space(text_of((m,)))))


def _without_space(text: str) -> bytes:
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return text.encode("utf-8", "surrogatepass").translate(None, string.whitespace.encode())


def score_margin(meta: Mapping[str, object]) -> float:
    """Score of the chosen answer minus that of the rejected one, more is better; NaN where `meta` has none."""
    for names in SCORE_NAMES:
        scores = [meta.get(name) for name in names]
        numbers = [float(score) for score in scores if isinstance(score, (int, float)) and not isinstance(score, bool)]
        if len(numbers) == len(names):
            return numbers[0] - numbers[1]
    return math.nan


def repeated(table: PairTable) -> Bools:
    """Rows that equal an earlier row: same prompt, same sides."""
    _, first, row = np.unique(row_digests(table), return_index=True, return_inverse=True)
    return np.asarray(first[row] < np.arange(len(table)))


def both_directions(table: PairTable) -> Bools:
    """Rows whose comparison also occurs the other way round: A over B, and B over A."""
    differ = table["comparison_chosen"] != table["comparison_rejected"]
    swapped = row_digests(table, "rejected", "chosen")[differ]
    return np.asarray(differ & np.isin(row_digests(table), swapped), dtype=np.bool_)


def on_cycles(table: PairTable) -> Bools:
    """Rows on a cycle of their prompt's answers, those of both directions among them.

    A cycle is a strongly connected component of the graph rejected -> chosen.
    """
    if not len(table):
        return np.zeros(0, dtype=np.bool_)
    prompt, winner, loser = (table[f"comparison_{side}"] for side in SIDES)
    answers, node = np.unique(np.concatenate([_joined(prompt, loser), _joined(prompt, winner)]), return_inverse=True)
    start, end = node[: len(table)], node[len(table) :]
    graph = sparse.csr_array((np.ones(len(table)), (start, end)), shape=(len(answers), len(answers)))
    _, component = csgraph.connected_components(graph, directed=True, connection="strong")
    return np.asarray((winner != loser) & (component[start] == component[end]), dtype=np.bool_)


def reused_ids(table: PairTable) -> Bools:
    """Rows whose id also stands on a row with another prompt (with the same prompt it is the prompt's id)."""
    known = np.flatnonzero(table["comparison_id"])
    ids, prompts = table["comparison_id"][known], table["comparison_prompt"][known]
    _, name = np.unique(ids, return_inverse=True)
    _, distinct = np.unique(_joined(ids, prompts), return_index=True)
    bad = np.zeros(len(table), dtype=np.bool_)
    bad[known] = np.bincount(name[distinct])[name] > 1
    return bad


def row_digests(table: PairTable, better: str = "chosen", worse: str = "rejected") -> Hashes:
    """One digest a row, of prompt, one side, other side, in this order."""
    return _joined(_joined(table["comparison_prompt"], table[f"comparison_{better}"]), table[f"comparison_{worse}"])


def _joined(one: Hashes, other: Hashes) -> Hashes:
    return mix(mix(one) + other)


def _id(pair: Pair) -> bytes:
    """A row's id within its file: another file may count from the beginning again. Empty without an id."""
    return f"{pair.where.rpartition(':')[0]}\n{pair.row_id}".encode("utf-8", "surrogatepass") if pair.row_id else b""

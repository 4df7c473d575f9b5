"""Rows and prompts that repeat others, exactly or nearly: MinHash to find candidates, Jaccard to confirm them.

Near rows meet in a band of their answers' `signatures` that also holds one bin of the prompt's, so only where prompts
and answers are both alike. Rows with Jaccard index J of the answers, and of the prompts, meet with probability
1 - (1 - J^6)^16: .99 at J = .8, .53 at .6, .06 at .4.
"""

from dataclasses import dataclass

import numpy as np

from dpo_core.data.pairs import Pair, text_of
from dpo_core.quality.check import Check, Facts
from dpo_core.quality.prompts.comparisons import both_directions, comparison_columns, repeated
from dpo_core.quality.prompts.identity import prompt_columns
from dpo_core.quality.results import Result, Results, Statistics, estimated, gathered, share_of_rows
from dpo_core.quality.table import Block, Columns, PairTable
from dpo_core.quality.text.minhash import (
    ALIKE,
    BANDS,
    BINS,
    SHINGLE,
    bands,
    jaccard,
    links,
    shingle_sets,
    signatures,
)
from dpo_core.quality.words import Bools, Hashes, Ints
from dpo_core.recipe import Validation

CHECKED = 4000  # candidate rows whose texts are read back and compared; of more, a random sample
BATCH = 250
REPEATED = "repeat an earlier row exactly: they count double in training. Remove the copies."
NEAR = (
    f"nearly repeat an earlier row (Jaccard index of five-word shingles from {ALIKE} on, in prompt and answers): "
    "they count double, and a split by row would leak. Keep one of each group."
)
NEAR_FLIPPED = (
    "nearly repeat an earlier row with its sides swapped: the labels contradict each other. Decide, or remove both."
)
NEAR_PROMPTS = (
    "have a prompt that nearly equals another one (about 70 % of their five-word shingles are shared, or more): such "
    "prompts count as one in every test, and stay on one side of a split. Nothing to do."
)
TEMPLATE = (
    "have a prompt that very many others nearly equal: it looks like a template filled in, so only equal prompts count "
    "as one. If the questions are the same, remove copies: tests would be too sure, and a split would leak."
)


def near_bands(block: Block) -> Columns:
    """`near_bands` (uint32, 16 a pair): equal in a band = candidates; 0 where an answer or prompt has no word."""
    shingles, owners = block.texts.words.shingles(SHINGLE)
    pairs, side = owners // 3, owners % 3
    answers = signatures(shingles[side > 0], pairs[side > 0], len(block), BINS)
    prompts = signatures(shingles[side == 0], pairs[side == 0], len(block), BANDS)
    return {"near_bands": bands(answers, prompts)}


def check_duplicates(facts: Facts, validation: Validation) -> Results:
    """Prompts nearly equal, rows that repeat others exactly, nearly, or nearly with their sides swapped."""
    table = facts.table
    repeats = repeated(table)
    return gathered(
        [
            *_near_prompts(table),
            share_of_rows("consistency/duplicates", table, repeats, REPEATED, fail_above=validation.max_duplicates),
            *_near_rows(table, ~repeats, both_directions(table), validation),
        ]
    )


def _near_prompts(table: PairTable) -> list[Result]:
    """Prompts that count as one, and those that are too many for that. No fault: said, because other numbers use it."""
    if "prompt_group" not in table.columns:
        return []
    group = table["prompt_group"]
    several = np.isin(group, group[group != table["prompt"]])
    sizes = np.unique(group[several], return_counts=True)[1]
    counts: Statistics = {"groups": len(sizes), "largest": int(sizes.max(initial=0))}
    return [
        share_of_rows("consistency/near_prompts", table, several, NEAR_PROMPTS, statistics=counts),
        share_of_rows("consistency/template_prompts", table, table["prompt_template"], TEMPLATE),
    ]


def _near_rows(table: PairTable, fresh: Bools, both: Bools, validation: Validation) -> list[Result]:
    """Near copies, straight and flipped, among the rows that are no exact copies."""
    found = find_near_duplicates(table, fresh, both)
    counts: Statistics = {"candidates": found.candidates, "compared": found.checked}

    def result(check: str, rows: Ints, share: float, limit: float, says: str) -> Result:
        bad = np.zeros(len(table), dtype=np.bool_)
        bad[rows] = True
        exact = share_of_rows(check, table, bad, says, warn_above=limit, statistics=counts)
        return exact if found.checked == found.candidates else estimated(*exact, share, len(table))

    return [
        result("consistency/near_duplicates", found.same, found.same_share, validation.max_near_duplicates, NEAR),
        result(
            "consistency/near_both_directions", found.flipped, found.flipped_share, validation.max_flipped, NEAR_FLIPPED
        ),
    ]


@dataclass(frozen=True)
class NearDuplicates:
    """Rows confirmed by their texts. `share` is an estimate where only `checked` of `candidates` rows were compared."""

    same: Ints  # rows that nearly repeat an earlier row
    flipped: Ints  # rows whose answers nearly occur the other way round in an earlier row
    same_share: float
    flipped_share: float
    candidates: int
    checked: int


def find_near_duplicates(table: PairTable, fresh: Bools, contradicted: Bools, *, seed: int = 0) -> NearDuplicates:
    """Near duplicates among the rows where `fresh` (no exact repeats); flipped ones unless `contradicted` exactly."""
    later, earlier = links(table["near_bands"], fresh)
    candidates = np.unique(later)
    checked = candidates
    if len(candidates) > CHECKED:
        checked = np.sort(np.random.default_rng(seed).choice(candidates, CHECKED, replace=False))
    looked_at = np.isin(later, checked)
    later, earlier = later[looked_at], earlier[looked_at]
    alike = _compare(table, later, earlier)
    same = np.unique(later[alike == 1])
    flipped = np.setdiff1d(later[alike == -1], same)
    flipped = flipped[~contradicted[flipped]]
    scale = len(candidates) / max(len(checked), 1) / max(len(table), 1)
    return NearDuplicates(same, flipped, len(same) * scale, len(flipped) * scale, len(candidates), len(checked))


def _compare(table: PairTable, later: Ints, earlier: Ints) -> Ints:
    """Per link: 1 if both sides are alike, -1 if they are the other way round, 0 if neither."""
    verdicts = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(later), BATCH):
        part = slice(start, start + BATCH)
        texts = [_texts(pair) for rows in (later[part], earlier[part]) for pair in table.rows(rows.tolist())]
        sets = shingle_sets([text for pair in texts for text in pair])
        size = len(later[part])
        ones, others = ([sets[3 * i : 3 * i + 3] for i in where] for where in (range(size), range(size, 2 * size)))
        verdicts.append(np.array([_alike(one, other) for one, other in zip(ones, others, strict=True)]))
    return np.concatenate(verdicts).astype(np.int64)


def _texts(pair: Pair) -> tuple[str, str, str]:
    return text_of(pair.prompt), text_of(pair.chosen), text_of(pair.rejected)


def _alike(one: list[Hashes], other: list[Hashes]) -> int:
    if jaccard(one[0], other[0]) < ALIKE:
        return 0
    straight = min(jaccard(one[1], other[1]), jaccard(one[2], other[2]))
    crossed = min(jaccard(one[1], other[2]), jaccard(one[2], other[1]))
    if max(straight, crossed) < ALIKE:
        return 0
    return 1 if straight >= crossed else -1


CHECK = Check("consistency/duplicates", columns=(prompt_columns, comparison_columns, near_bands), run=check_duplicates)

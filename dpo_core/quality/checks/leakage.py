"""Prompts that are trained on must not be held out, nor belong to a benchmark: equal, nearly equal, or in part."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Message
from dpo_core.quality.check import Check, Facts
from dpo_core.quality.postings import NOBODY, PromptIndex, distinct, has
from dpo_core.quality.prompts.identity import asked, compared_key, digests, question_keys
from dpo_core.quality.prompts.index import HELD_OUT, NGRAM
from dpo_core.quality.results import Results, Statistics, evidence_at, severity_of, share_of_rows
from dpo_core.quality.table import Block, Columns, PairTable
from dpo_core.quality.text.minhash import ALIKE, SHINGLE
from dpo_core.quality.words import Hashes, Ints, TextArray
from dpo_core.recipe import Validation
from dpo_core.report.results import Finding, Measure

COVERED = 0.8  # share of a prompt's words in one unbroken match from which on it counts as seen, ...
LONG = 13  # ... if the match has as many words (Brown et al. 2020, app. C) or is the whole prompt: phrases are shared
EXACT, NEAR, PART = 1, 2, 3
KINDS = (
    (EXACT, "leakage/prompt_overlap", "a prompt that is also trained on (case and spacing aside)"),
    (NEAR, "leakage/near_prompt", f"a prompt nearly trained on (Jaccard index of five-word shingles from {ALIKE} on)"),
    (PART, "leakage/prompt_in_part", f"a prompt of which {COVERED:.0%} stands in a prompt trained on, word for word"),
)


def leakage_columns(block: Block) -> Columns:
    """`leakage_NAME` (uint8: 0, EXACT, NEAR or PART) and `leakage_NAME_match` (int32: which prompt) of each index."""
    if not block.indexes:
        return {}
    asked = _Asked([encoded.pair.prompt for encoded in block.pairs])
    return {name: column for index in block.indexes for name, column in _overlaps(asked, index).items()}


def overlaps(prompts: Sequence[Sequence[Message]], index: PromptIndex) -> NDArray[np.uint8]:
    """How each prompt overlaps with an index: 0, EXACT, NEAR or PART; as the check counts it."""
    return np.asarray(_overlaps(_Asked(prompts), index)[f"leakage_{index.name}"], dtype=np.uint8)


def check_leakage(facts: Facts, validation: Validation) -> Results:
    """Overlap of the pairs trained on with held-out prompts and with benchmarks.

    Any overlap with held-out prompts fails. Where the pipeline held them out itself (`own_split`: by groups of nearly
    equal prompts), what those groups missed only warns: nobody can mend it but by giving `data.eval`.
    """
    measures: list[Measure] = []
    findings: list[Finding] = []
    for index in facts.indexes:
        if index.name == HELD_OUT:
            found = _held_out(facts.table, index, facts.own_split)
        else:
            found = _benchmark(facts.table, index, validation)
        measures += found[0]
        findings += found[1]
    if all(index.name != HELD_OUT for index in facts.indexes):
        says = "there are no held-out pairs, so overlap with them was not looked for"
        findings.append(Finding(KINDS[0][1], "info", says, looked_for=False))
    return measures, findings


def _held_out(table: PairTable, index: PromptIndex, own_split: bool) -> Results:
    measures: list[Measure] = []
    findings: list[Finding] = []
    total = int(index.rows.sum())
    for kind, check, what in KINDS:
        rows = np.flatnonzero(table[f"leakage_{index.name}"] == kind)
        prompts = np.unique(table[f"leakage_{index.name}_match"][rows])
        pairs = int(index.rows[prompts].sum())
        do = "give held-out pairs of their own in data.eval" if own_split else "remove them from one of the two files"
        says = f"{pairs} of {total} held-out pairs have {what}: their evaluation would flatter the model. To mend it, "
        says += f"{do}."
        warn_above, fail_above = (0.0, None) if own_split and kind != EXACT else (None, 0.0)
        measure = Measure(check, float(pairs), warn_above, fail_above, says)
        measures.append(measure)
        if pairs:
            counts: Statistics = {
                "held_out_pairs": pairs,
                "prompts": len(prompts),
                "train_pairs": len(rows),
                "share": pairs / total,
            }
            evidence = evidence_at(table, rows)
            findings.append(Finding(check, severity_of(measure), says, statistics=counts, evidence=evidence))
    return measures, findings


def _benchmark(table: PairTable, index: PromptIndex, validation: Validation) -> Results:
    kinds = table[f"leakage_{index.name}"]
    prompts = np.unique(table[f"leakage_{index.name}_match"][kinds != 0])
    counts: Statistics = {
        "prompts": len(prompts),
        "of_prompts": len(index),
        **{name: int((kinds == kind).sum()) for kind, name in ((EXACT, "exact"), (NEAR, "near"), (PART, "in_part"))},
    }
    name = index.name.removeprefix("benchmark_")
    measure, findings = share_of_rows(
        f"leakage/{index.name}",
        table,
        kinds != 0,
        f"have a prompt of the benchmark {name} (equal, nearly equal or in part; {len(prompts)} of its {len(index)} "
        "prompts): its score will say little after training. Remove them, or do not report that benchmark.",
        warn_above=validation.max_benchmark_overlap,
        statistics=counts,
    )
    return [measure], findings


class _Asked:
    """What is compared of the prompts of some pairs; the same for every index."""

    def __init__(self, prompts: Sequence[Sequence[Message]]) -> None:
        self.prompts = prompts
        words = TextArray.of([asked(prompt) for prompt in self.prompts]).words
        self.shingles = distinct(*words.shingles(SHINGLE))
        self.ngrams = words.shingles(NGRAM, short=False)

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def conversations(self) -> tuple[Hashes, Ints]:
        """Digests of the prompts, and whose they are."""
        return digests(map(compared_key, self.prompts)).view(np.uint64), np.arange(len(self))

    @cached_property
    def questions(self) -> tuple[Hashes, Ints]:
        """Digests of each turn of a user, and whose they are."""
        keys = [question_keys(prompt) for prompt in self.prompts]
        owners = np.repeat(np.arange(len(self)), [len(some) for some in keys])
        return digests(key for some in keys for key in some).view(np.uint64), owners


def _overlaps(asked: _Asked, index: PromptIndex) -> Columns:
    kind = np.zeros(len(asked), dtype=np.uint8)
    match = np.full(len(asked), NOBODY, dtype=np.int32)
    for number, found in ((PART, _in_part(asked, index)), (NEAR, _near(asked, index)), (EXACT, _equal(asked, index))):
        seen = found != NOBODY
        kind[seen], match[seen] = number, found[seen]
    return {f"leakage_{index.name}": kind, f"leakage_{index.name}_match": match}


def _equal(asked: _Asked, index: PromptIndex) -> Ints:
    keys, owners = asked.questions if index.turns else asked.conversations
    mine, theirs = index.equal.meet(keys)
    found = np.full(len(asked), NOBODY)
    found[owners[mine]] = index.equal.whose[theirs]
    return found


def _near(asked: _Asked, index: PromptIndex) -> Ints:
    """The prompt with the highest Jaccard index of shingles, boilerplate aside, if that is high enough."""
    shingles, owners = asked.shingles
    own = ~has(index.boilerplate, shingles)
    sizes = np.bincount(owners[own], minlength=len(asked))
    mine, theirs = index.shingles.meet(shingles)
    pair, common = np.unique((owners[mine] << 32) | index.shingles.whose[theirs], return_counts=True)
    row, prompt = pair >> 32, pair & 0xFFFFFFFF
    alike = common / (sizes[row] + index.sizes[prompt] - common)
    return _best(len(asked), row, prompt, alike, alike >= ALIKE)


def _in_part(asked: _Asked, index: PromptIndex) -> Ints:
    """The prompt with the longest unbroken match of words, if that covers enough of it."""
    ngrams, owners = asked.ngrams
    mine, theirs = index.ngrams.meet(ngrams)
    row, prompt = owners[mine], index.ngrams.whose[theirs].astype(np.int64)
    diagonal = index.ngrams.place[theirs] - mine  # constant while both texts go on together
    order = np.lexsort((mine, diagonal, prompt, row))
    mine, row, prompt, diagonal = mine[order], row[order], prompt[order], diagonal[order]
    goes_on = (np.diff(mine) == 1) & (np.diff(diagonal) == 0) & (np.diff(prompt) == 0) & (np.diff(row) == 0)
    starts = np.flatnonzero(np.concatenate([[True], ~goes_on])[: len(mine)])
    spans = np.diff(starts, append=len(mine)) + NGRAM - 1
    words = index.words[prompt[starts]]
    enough = (spans >= COVERED * words) & ((spans >= LONG) | (spans == words))
    return _best(len(asked), row[starts], prompt[starts], spans, enough)


def _best(count: int, row: Ints, prompt: Ints, score: NDArray[np.generic], enough: NDArray[np.bool_]) -> Ints:
    """Per row the prompt of the highest score among those that are `enough`."""
    found = np.full(count, NOBODY)
    ascending = np.flatnonzero(enough)[np.argsort(score[enough], kind="stable")]  # the best is written last
    found[row[ascending]] = prompt[ascending]
    return found


CHECK = Check("leakage", columns=(leakage_columns,), run=check_leakage)

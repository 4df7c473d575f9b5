"""The data check itself: read, normalise, split, encode and describe, examine, let Great Expectations decide.

Two passes over the rows, in worker processes where there are many; between them the rows lie on disk.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Message, Pair, Spool
from dpo_core.data.splits import held_out_rows
from dpo_core.errors import InputError
from dpo_core.quality.check import Facts
from dpo_core.quality.features.ngrams import merge
from dpo_core.quality.prompts.groups import group_columns
from dpo_core.quality.prompts.identity import sample_rows
from dpo_core.quality.prompts.index import indexes_of
from dpo_core.quality.table import PairTable
from infra.settings import Settings
from tasks.data_check.mitigate import examine_and_mitigate
from tasks.data_check.request import Examined, Ints, Request
from tasks.data_check.rows import Described, Normalised, Quarantine, Wanted, describe_rows, normalise_sources
from tasks.data_check.verdict import judge
from tasks.runtime.sources import local_source

log = logging.getLogger("dpo.check")
Bools = NDArray[np.bool_]


def examine_request(request: Request, folder: Path, settings: Settings) -> Examined:
    """Run the check; `folder` is for the rows on their way. Raises InputError for files that cannot be used."""
    quarantine = Quarantine(folder / "quarantine.jsonl")
    named = [name for name in (request.train, request.held_out) if name is not None]
    names = [local_source(name, settings.home) for name in named]
    workers = settings.num_threads
    data = normalise_sources(names, folder, quarantine, workers=workers, turns=request.text == "turns")
    held_out = _held_out(data, request)
    prompts = data.prompts[~held_out]
    bound = int(prompts[sample_rows(prompts)].max(initial=0))
    indexes = indexes_of(_prompts(data.spool, held_out), request.validation)
    wanted = Wanted(request.validation, request.encoding, request.tokenizer, bound, indexes, request.trusted_code)
    described = describe_rows(data, ~held_out, wanted, folder, workers=workers)
    groups = group_columns(data.prompts, data.groups)
    described.columns.update({name: column[described.kept] for name, column in groups.items()})
    quarantine.add(described.refused)
    train, kept_out = (np.flatnonzero(described.kept & side) for side in (~held_out, held_out))
    if not len(train):
        why = quarantine.reasons.sentence() or "All are held out: add rows with other prompts"
        says, _, do = why.rpartition(". ")
        raise InputError(f"no row is left to train on{f' ({says})' if says else ''}", where=request.train, do=do)
    facts = Facts(
        _table(data, described, train),
        merge(described.grams, np.flatnonzero(described.sampled[train])),
        indexes,
        described.encoding,
        own_split=request.held_out is None,
        previous=request.previous,
    )
    found = examine_and_mitigate(data, facts, train, wanted, described, workers=workers)
    return judge(request, data, described, found, kept_out, quarantine, settings)


def _prompts(spool: Spool, rows: Bools) -> Iterator[tuple[Message, ...]]:
    """The prompts of some rows, a part in memory at a time."""
    for part in spool.parts():
        mine = rows[part.first : part.first + part.rows]
        if mine.any():
            yield from (pair.prompt for pair, wanted in zip(part.pairs(), mine, strict=True) if wanted)


def _held_out(data: Normalised, request: Request) -> Bools:
    if request.held_out is not None:
        apart = np.asarray(data.origins == 1)
        recorded = ~apart & request.known.of_rows(data.questions)[1]
        if recorded.any():
            says = "of the training rows are held out on record, by an earlier run of this model, and stay so"
            log.warning("held_out_on_record rows=%d says='%s'", recorded.sum(), says)
        return apart | recorded
    if not request.split:
        return np.zeros(len(data.spool), np.bool_)
    return held_out_rows(data.questions, data.groups.first, request.known)


def _table(data: Normalised, described: Described, train: Ints) -> PairTable:
    """The pairs trained on."""

    def rows(wanted: Sequence[int]) -> list[Pair]:
        return data.spool.pairs([int(train[row]) for row in wanted])

    mine = np.isin(np.flatnonzero(described.kept), train)  # of the described rows
    everything = mine.all()
    columns = {name: column if everything else column[mine] for name, column in described.columns.items()}
    return PairTable(len(train), columns, rows)

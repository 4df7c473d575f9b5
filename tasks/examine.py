"""The data check itself: read, normalise, split, encode and describe, examine, let Great Expectations decide.

Two passes over the rows, in worker processes where there are many; between them the rows lie on disk.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.chunks import ROWS
from dpo_core.data.pairs import Message, Pair, digest_rows
from dpo_core.data.splits import held_out_places
from dpo_core.data.spool import Spool, lines_of
from dpo_core.errors import InputError
from dpo_core.quality.grams import merge
from dpo_core.quality.profile import Profile, profile_of
from dpo_core.quality.prompt_groups import group_columns
from dpo_core.quality.prompts import sample_rows
from dpo_core.quality.table import PairTable
from dpo_core.quality.verdict import Facts, indexes_of
from dpo_core.recipe import Encoding, Validation
from dpo_core.report.lengths import length_bins
from dpo_core.report.results import Finding, Measure
from infra.settings import Settings
from tasks.cure import Found, examine_and_cure
from tasks.describe import Described, Wanted, describe_rows
from tasks.normalise import Normalised, Quarantine, normalise_sources
from tasks.sources import local_source

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
COUNTED = ("rows_in", "rows_kept", "rows_quarantined", "rows_dropped", "data_sha256", "format")
PACKAGES = ("dpo-pipeline", "great-expectations", "scipy", "transformers")


@dataclass(frozen=True)
class Request:
    """What is to be checked. Without `held_out` a tenth of `train` is held out, or nothing unless `split`."""

    train: str
    held_out: str | None
    validation: Validation
    encoding: Encoding
    tokenizer: str | None  # folder; without one words alone are examined
    split: bool = True
    previous: Profile | None = None  # of the last accepted data set of this name


@dataclass(frozen=True)
class Examined:
    """Everything that came of one check. The rows are in `spool`; `train` and `held_out` are their indices there.

    `weights`: of the loss, one for each of `train`; None where all weigh the same. `profile` is for the next check.
    """

    spool: Spool
    train: Ints
    held_out: Ints
    weights: Floats | None
    profile: Profile
    quarantine: Path
    findings: list[Finding]
    measures: list[Measure]
    by_check: dict[str, str]
    expectations: dict[str, Any]
    counts: dict[str, Any]  # the first fields of Checked
    facts: dict[str, Any]

    def write_train(self, path: Path) -> Path:
        """The normalised rows to train on, as JSON lines, with their weights."""
        if self.weights is None:
            self.spool.copy(self.train, path)
            return path
        with path.open("wb") as out:
            for first in range(0, len(self.train), ROWS):
                pairs = self.spool.pairs(self.train[first : first + ROWS].tolist())
                weights = self.weights[first : first + ROWS].tolist()
                out.write(lines_of([replace(p, weight=w) for p, w in zip(pairs, weights, strict=True)])[0])
        return path

    def write_held_out(self, path: Path) -> Path:
        """The normalised rows that are held out."""
        self.spool.copy(self.held_out, path)
        return path


def examine_request(request: Request, folder: Path, settings: Settings) -> Examined:
    """Run the check; `folder` is for the rows on their way. Raises InputError for files that cannot be used."""
    quarantine = Quarantine(folder / "quarantine.jsonl")
    named = [name for name in (request.train, request.held_out) if name is not None]
    names = [local_source(name, settings.home) for name in named]
    workers = settings.num_threads
    data = normalise_sources(names, folder, quarantine, workers=workers)
    held_out = _held_out(data, request)
    prompts = data.prompts[~held_out]
    bound = int(prompts[sample_rows(prompts)].max(initial=0))
    indexes = indexes_of(_prompts(data.spool, held_out), request.validation)
    wanted = Wanted(request.validation, request.encoding, request.tokenizer, bound, indexes)
    described = describe_rows(data, ~held_out, wanted, workers=workers)
    groups = group_columns(data.prompts, data.groups)
    described.columns.update({name: column[described.kept] for name, column in groups.items()})
    quarantine.add(described.refused)
    train, kept_out = (np.flatnonzero(described.kept & side) for side in (~held_out, held_out))
    if not len(train):
        raise InputError(
            "no row is left to train on", where=request.train, do=f"see the reasons, the first: {_first(quarantine)}"
        )
    facts = Facts(
        _table(data, described, train),
        merge(described.grams, np.flatnonzero(described.sampled[train])),
        indexes,
        described.encoding,
        own_split=request.held_out is None,
        previous=request.previous,
    )
    found = examine_and_cure(data, facts, train, wanted, described.left_out, workers=workers)
    return _judged(request, data, described, found, kept_out, quarantine, settings)


def _prompts(spool: Spool, rows: Bools) -> Iterator[tuple[Message, ...]]:
    """The prompts of some rows, a part in memory at a time."""
    for part in spool.parts():
        mine = rows[part.first : part.first + part.rows]
        if mine.any():
            yield from (pair.prompt for pair, wanted in zip(part.pairs(), mine, strict=True) if wanted)


def _held_out(data: Normalised, request: Request) -> Bools:
    if request.held_out is not None:
        return np.asarray(data.origins == 1)
    return held_out_places(data.places[data.groups.first]) if request.split else np.zeros(len(data.spool), np.bool_)


def _judged(
    request: Request,
    data: Normalised,
    described: Described,
    found: Found,
    held_out: Ints,
    quarantine: Quarantine,
    settings: Settings,
) -> Examined:
    from infra.expectations import project_folder, validate

    validation, name = request.validation, Path(request.train).name
    rows_in = sum(source.tally.rows for source in data.sources)
    examination, train = found.examination, found.train
    measures = [_quarantined(quarantine.rows, rows_in, validation), *examination.measures]
    outcome = validate(
        _numbers(described, tokens=request.tokenizer is not None),
        [(m.check, m.value, m.warn_above, m.fail_above) for m in measures],
        name=name,
        min_rows=validation.min_pairs,
        folder=project_folder(settings.home, name),
        data_docs=settings.data_docs,
    )
    findings = [*_broken_limits(measures, outcome.by_check, examination.findings), *examination.findings]
    weights = np.ones(len(train)) if found.weights is None else found.weights
    rows, kept_out = ([row.tobytes().hex() for row in data.ids[part]] for part in (train, held_out))
    counts = {
        "verdict": outcome.verdict,
        "rows_in": rows_in,
        "rows_kept": len(train) + len(held_out),
        "rows_quarantined": quarantine.rows,
        "rows_dropped": found.dropped,
        "findings": [finding.to_document() for finding in findings],
        "data_sha256": digest_rows(zip(rows, weights.tolist(), strict=True), kept_out),
        "format": data.sources[0].tally.format,
    }
    shown = _facts(request, data, found.table, len(held_out), quarantine, counts, described.encoding)
    return Examined(
        data.spool,
        train,
        held_out,
        found.weights,
        profile_of(found.table),
        quarantine.path,
        findings,
        measures,
        dict(outcome.by_check),
        outcome.document,
        counts,
        shown,
    )


def _table(data: Normalised, described: Described, train: Ints) -> PairTable:
    """The pairs trained on."""

    def rows(wanted: Sequence[int]) -> list[Pair]:
        return data.spool.pairs([int(train[row]) for row in wanted])

    mine = np.isin(np.flatnonzero(described.kept), train)  # of the described rows
    everything = mine.all()
    columns = {name: column if everything else column[mine] for name, column in described.columns.items()}
    return PairTable(len(train), columns, rows)


def _numbers(described: Described, *, tokens: bool) -> dict[str, NDArray[Any]]:
    """The columns that Great Expectations judges, of the held-out pairs too."""
    names = ["prompt_characters", "chosen_characters", "rejected_characters", "answers_differ"]
    names += ["chosen_tokens", "rejected_tokens"] if tokens else []
    return {name: described.columns[name] for name in names}


def _quarantined(quarantined: int, rows: int, validation: Validation) -> Measure:
    says = f"{quarantined} of {rows} rows cannot be used; quarantine.jsonl has them and why: mend or remove them"
    return Measure("structure/quarantined", quarantined / rows, None, validation.max_quarantined, says)


def _first(quarantine: Quarantine) -> str:
    return next(iter(quarantine.reasons), "none")


def _broken_limits(
    measures: Sequence[Measure], by_check: Mapping[str, str], findings: Sequence[Finding]
) -> list[Finding]:
    """A finding for each measure beyond its limit that no finding of its own explains."""
    told = {finding.check for finding in findings if finding.severity != "info"}
    broken = []
    for measure in measures:
        outcome = by_check.get(measure.check, "pass")
        if outcome != "pass" and measure.check not in told and not measure.check.startswith("shortcut/"):
            statistics: dict[str, float | int | str] = {"value": measure.value}
            broken.append(
                Finding(measure.check, "fail" if outcome == "fail" else "warn", measure.says, statistics=statistics)
            )
    for name, outcome in by_check.items():
        if outcome != "pass" and name not in {m.check for m in measures} and name not in told:
            broken.append(
                Finding(
                    name,
                    "fail" if outcome == "fail" else "warn",
                    f"expectation {name} does not hold: see expectations.json",
                )
            )
    return broken


def _facts(
    request: Request,
    data: Normalised,
    table: PairTable,
    held_out: int,
    quarantine: Quarantine,
    counts: dict[str, Any],
    encoding: dict[str, int],
) -> dict[str, Any]:
    """What the page shows beside the findings."""
    from importlib.metadata import version

    unit = "tokens" if request.tokenizer else "words"
    dropped = sum((source.tally.dropped for source in data.sources), Counter[str]())
    formats = sum((source.tally.formats for source in data.sources), Counter[str]())
    return {
        **{name: counts[name] for name in COUNTED},
        "formats": dict(formats),
        "train_rows": len(table),
        "eval_rows": held_out,
        "quarantine_reasons": dict(quarantine.reasons.most_common(10)),
        "files": {("train", "eval")[number]: source.sha256 for number, source in enumerate(data.sources)},
        "dropped_columns": dict(dropped),
        "tokenizer": "training tokenizer" if request.tokenizer else "none: words only",
        "encoding": encoding,
        "lengths": length_bins(table[f"chosen_{unit}"], table[f"rejected_{unit}"], unit),
        "versions": {name: version(name) for name in PACKAGES},
    }

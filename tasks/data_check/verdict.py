"""Great Expectations' verdict on what was measured, and all that the report shows of one check."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.digests import digest_rows
from dpo_core.data.splits import SplitSides
from dpo_core.data.unread import UnreadColumns
from dpo_core.quality.profile import profile_of
from dpo_core.quality.table import PairTable
from dpo_core.recipe import Validation
from dpo_core.report.lengths import length_bins
from dpo_core.report.results import Finding, Measure
from infra.settings import Settings
from tasks.data_check.mitigate import Found
from tasks.data_check.reading import reading_results
from tasks.data_check.request import Examined, Ints, Request
from tasks.data_check.rows import Described, Normalised, Quarantine
from tasks.records import CheckResult

COUNTED = ("rows_in", "rows_kept", "rows_quarantined", "rows_dropped", "data_sha256", "format")
PACKAGES = ("dpo-pipeline", "great-expectations", "scipy", "transformers")


def judge(
    request: Request,
    data: Normalised,
    described: Described,
    found: Found,
    held_out: Ints,
    quarantine: Quarantine,
    settings: Settings,
) -> Examined:
    """Let Great Expectations decide on what the checks `found`, and gather the rest."""
    from infra.expectations.project import project_folder, validate

    validation, name, train = request.validation, Path(request.train).name, found.train
    rows_in, examination = sum(source.tally.rows for source in data.sources), found.examination
    unread = UnreadColumns()
    for source in data.sources:
        unread.add(source.tally.unread)
    read_measures, read_findings = reading_results(rows_in, quarantine.reasons, unread, validation)
    measures = [*read_measures, *examination.measures]
    outcome = validate(
        _numbers(described, np.concatenate([train, held_out]), tokens=request.tokenizer is not None),
        [(m.check, m.value, m.warn_above, m.fail_above) for m in measures],
        name=name,
        min_rows=validation.min_pairs,
        folder=project_folder(settings.home, name),
        data_docs=settings.data_docs,
    )
    left = len(train) + len(held_out)
    findings = [*read_findings, *examination.findings]
    findings = [*_broken_limits(measures, outcome.by_check, findings, left, validation), *findings]
    weights = np.ones(len(train)) if found.weights is None else found.weights
    rows, kept_out = ([row.tobytes().hex() for row in data.ids[part]] for part in (train, held_out))
    result = CheckResult(
        verdict=outcome.verdict,
        rows_in=rows_in,
        rows_kept=left,
        rows_quarantined=quarantine.rows,
        rows_dropped=found.dropped,
        findings=[finding.to_document() for finding in findings],
        data_sha256=digest_rows(zip(rows, weights.tolist(), strict=True), kept_out),
        format=data.sources[0].tally.format,
    )
    return Examined(
        spool=data.spool,
        ids=described.ids,
        train=train,
        held_out=held_out,
        sides=_sides(data, train, held_out),
        weights=found.weights,
        shortcuts=found.shortcuts,
        profile=profile_of(found.table),
        quarantine=quarantine.path,
        findings=findings,
        measures=measures,
        by_check=dict(outcome.by_check),
        expectations=outcome.document,
        result=result,
        facts=_facts(request, data, found.table, len(held_out), quarantine, result, described.encoding)
        | {"dropped_columns": unread.counts()},
    )


def _sides(data: Normalised, train: Ints, held_out: Ints) -> SplitSides:
    rows = np.concatenate([train, held_out])
    return SplitSides.of(data.questions[rows], np.arange(len(rows)) >= len(train))


def _numbers(described: Described, rows: Ints, *, tokens: bool) -> dict[str, NDArray[Any]]:
    """The columns that Great Expectations judges, of the pairs that are left: the held-out ones too."""
    left = np.isin(np.flatnonzero(described.kept), rows)
    names = ["prompt_characters", "chosen_characters", "rejected_characters", "answers_differ"]
    names += ["chosen_tokens", "rejected_tokens"] if tokens else []
    return {name: described.columns[name][left] for name in names}


def _broken_limits(
    measures: Sequence[Measure],
    by_check: Mapping[str, str],
    findings: Sequence[Finding],
    left: int,
    validation: Validation,
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
            says = f"expectation {name} does not hold: expectations.json, beside the report, has the numbers"
            if name == "structure/min_rows":
                says = (
                    f"{left} pairs are left, and validation.min_pairs asks for {validation.min_pairs}: add pairs, or "
                    f"set validation.min_pairs to {left} if so few are meant"
                )
            broken.append(Finding(name, "fail" if outcome == "fail" else "warn", says))
    return broken


def _facts(
    request: Request,
    data: Normalised,
    table: PairTable,
    held_out: int,
    quarantine: Quarantine,
    result: CheckResult,
    encoding: dict[str, int],
) -> dict[str, object]:
    """What the page shows beside the findings."""
    from importlib.metadata import version

    unit = "tokens" if request.tokenizer else "words"
    formats = sum((source.tally.formats for source in data.sources), Counter[str]())
    return {
        **{name: getattr(result, name) for name in COUNTED},
        "formats": dict(formats),
        "train_rows": len(table),
        "eval_rows": held_out,
        "quarantine_reasons": dict(quarantine.reasons.ranked()[:10]),
        "files": {("train", "eval")[number]: source.sha256 for number, source in enumerate(data.sources)},
        "tokenizer": "training tokenizer" if request.tokenizer else "none: words only",
        "encoding": encoding,
        "lengths": length_bins(table[f"chosen_{unit}"], table[f"rejected_{unit}"], unit),
        "versions": {name: version(name) for name in PACKAGES},
    }

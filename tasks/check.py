"""The data check: read, normalise, encode, examine, let Great Expectations decide, report."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.data.pairs import EncodedPair, Pair, digest_pairs, text_of
from dpo_core.data.readers import ReadPairs, read_pairs
from dpo_core.data.splits import split_held_out
from dpo_core.errors import InputError
from dpo_core.recipe import Encoding, Validation
from dpo_core.report.compare import Comparison, compare
from dpo_core.report.document import quality_document, read_report
from dpo_core.report.lengths import length_bins
from dpo_core.report.results import Finding, Measure
from infra.settings import load_settings, without_secrets
from infra.store import Store, open_store
from tasks.announce import announce
from tasks.plan import Plan
from tasks.stages import Stage, remembered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("dpo.check")
CODE = (
    "tasks/check.py",
    "dpo_core/data",
    "dpo_core/quality",
    "dpo_core/report",
    "dpo_core/model/encode.py",
    "infra/expectations.py",
    "infra/pair_expectations.py",
)
FILES = ("quality.html", "quality.json", "quarantine.jsonl", "expectations.json")


@dataclass(frozen=True)
class Checked:
    """What the check decided, and where the rows that it kept lie in the store."""

    verdict: str
    rows_in: int
    rows_kept: int
    rows_quarantined: int
    report: str  # the page, on this machine
    findings: list[dict[str, Any]]
    data_sha256: str
    train_key: str
    eval_key: str
    format: str
    stage: Stage
    compare: dict[str, Any] | None = None  # with an earlier report, where one was named

    def to_document(self) -> dict[str, Any]:
        """The document of `dpo check --json`."""
        names = ("verdict", "rows_in", "rows_kept", "rows_quarantined", "report", "findings", "data_sha256", "format")
        document = {"schema": 1, **{name: getattr(self, name) for name in names}}
        return document | ({"compare": self.compare} if self.compare else {})


class DataCheckFailed(RuntimeError):
    """The pairs must not be trained on; `checked` says why."""

    def __init__(self, checked: Checked) -> None:
        reasons = [f["says"] for f in checked.findings if f["severity"] == "fail" and not f["intended"]]
        super().__init__(f"the data check failed: {'; '.join(reasons[:3])} (report: {checked.report})")
        self.checked = checked

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.checked,)


@task(name="check", cache_policy=NO_CACHE)
def check(plan: Plan) -> Checked:
    """Check the recipe's pairs before any model is loaded. Raises DataCheckFailed where the verdict is fail."""
    recipe, settings = plan.recipe, load_settings()
    store = open_store(settings)
    inputs = {
        "train": plan.files[recipe.data.train],
        "eval": plan.files.get(recipe.data.eval or ""),
        "validation": recipe.validation.model_dump(),
        "encoding": recipe.encoding.model_dump(),
        "tokenizer": plan.tokenizer_sha256,
        "name": recipe.name,
    }
    reports_key = f"reports/{recipe.name}-data-{digest_json(inputs)[:12]}"

    def compute() -> dict[str, Any]:
        examined = examine_files(
            recipe.data.train, recipe.data.eval, recipe.validation, recipe.encoding, plan.model_folder
        )
        return _kept(store, examined, recipe.name, reports_key)

    output, stage = remembered(store, "check", inputs, compute, code=CODE, force=plan.force)
    folder = settings.home / reports_key
    for name in FILES:
        if not stage.cached or not (folder / name).is_file():
            store.get_file(f"{reports_key}/{name}", folder / name)
    checked = Checked(**output, report=str(folder / FILES[0]), stage=stage)
    announce(plan, checked, reports_key, without_secrets(settings.store_url))
    log.info(
        "data_checked verdict=%s kept=%d quarantined=%d", checked.verdict, checked.rows_kept, checked.rows_quarantined
    )
    if checked.verdict == "fail":
        raise DataCheckFailed(checked)
    return checked


def check_only(
    data: str,
    held_out: str | None,
    model_folder: Path | None,
    report_folder: Path,
    validation: Validation,
    earlier: Path | None = None,
) -> Checked:
    """The check by itself, nothing remembered: `dpo check`. `earlier` is a report to compare with."""
    old = read_report(earlier) if earlier else None  # before anything is written: it may be the same folder
    folder = str(model_folder) if model_folder else None
    examined = examine_files(data, held_out, validation, Encoding(), folder, hold_out=False)
    name = Path(data).name
    comparison = compare(old, _document(examined, name), str(earlier)) if old else None
    report_folder.mkdir(parents=True, exist_ok=True)
    for file, content in _files(examined, name, comparison).items():
        (report_folder / file).write_bytes(content)
    return Checked(
        **examined.counts,
        report=str(report_folder / FILES[0]),
        train_key="",
        eval_key="",
        stage=Stage("check", False, 0.0),
        compare=comparison.to_document() if comparison else None,
    )


@dataclass(frozen=True)
class Examined:
    """Everything that came of one check, before it is written anywhere."""

    train: list[Pair]
    held_out: list[Pair]
    quarantine: list[dict[str, Any]]
    findings: list[Finding]
    measures: list[Measure]
    by_check: dict[str, str]
    expectations: dict[str, Any]
    counts: dict[str, Any]  # the first fields of Checked
    facts: dict[str, Any]


def examine_files(
    train_file: str,
    eval_file: str | None,
    validation: Validation,
    encoding: Encoding,
    tokenizer_folder: str | None,
    *,
    hold_out: bool = True,
) -> Examined:
    """Read and examine pairs; without a tokenizer on words alone. Raises InputError for files that cannot be used.

    Without `eval_file` a tenth is held out, or nothing unless `hold_out`.
    """
    from dpo_core.quality.verdict import examine
    from infra.expectations import project_folder, validate

    reads = [read_pairs(train_file)] + ([read_pairs(eval_file)] if eval_file else [])
    tokenizer = _tokenizer(tokenizer_folder)
    sides, quarantine, encoding_facts = _encode(reads, tokenizer, encoding)
    train, held_out = (sides[0], sides[1]) if eval_file else _split(sides[0]) if hold_out else (sides[0], [])
    if not train:
        raise InputError(
            "no row is left to train on", where=train_file, do=f"see the reasons, the first: {quarantine[0]['reason']}"
        )
    rows_in = sum(read.rows for read in reads)
    examination = examine(
        train, held_out, validation, (lambda token: str(tokenizer.decode([token]))) if tokenizer else None
    )
    measures = [_quarantined(len(quarantine), rows_in, validation), *examination.measures]
    settings, name = load_settings(), Path(train_file).name
    outcome = validate(
        _columns([*train, *held_out]),
        [(m.check, m.value, m.warn_above, m.fail_above) for m in measures],
        name=name,
        min_rows=validation.min_pairs,
        folder=project_folder(settings.home, name),
        data_docs=settings.data_docs,
    )
    pairs = [pair.pair for pair in train], [pair.pair for pair in held_out]
    findings = [*_broken_limits(measures, outcome.by_check, examination.findings), *examination.findings]
    counts = {
        "verdict": outcome.verdict,
        "rows_in": rows_in,
        "rows_kept": len(train) + len(held_out),
        "rows_quarantined": len(quarantine),
        "findings": [finding.to_document() for finding in findings],
        "data_sha256": digest_pairs([*pairs[0], *pairs[1]]),
        "format": reads[0].format,
    }
    facts = _facts(reads, train, held_out, quarantine, counts, encoding_facts, tokenizer_folder)
    return Examined(*pairs, quarantine, findings, measures, dict(outcome.by_check), outcome.document, counts, facts)


def _tokenizer(folder: str | None) -> "PreTrainedTokenizerBase | None":
    if folder is None:
        return None
    from dpo_core.model.encode import load_tokenizer

    return load_tokenizer(folder)


def _encode(
    reads: Sequence[ReadPairs], tokenizer: "PreTrainedTokenizerBase | None", encoding: Encoding
) -> tuple[list[list[EncodedPair]], list[dict[str, Any]], dict[str, int]]:
    """Encoded pairs of each file, every row set aside with its reason, and what encoding did."""
    quarantine = [
        {"where": q.where, "line": q.line, "reason": q.reason, "row": q.row} for read in reads for q in read.quarantined
    ]
    if tokenizer is None:
        return [[EncodedPair(pair, (), (), ()) for pair in read.pairs] for read in reads], quarantine, {}
    from dpo_core.model.encode import encode_pairs

    sides, facts = [], Counter[str]()
    for read in reads:
        result = encode_pairs(read.pairs, tokenizer, encoding)
        sides.append(result.encoded)
        facts.update(result.statistics)
        for pair, reason in result.rejected:
            line = int("".join(filter(str.isdigit, pair.where.rpartition(":")[2])) or 0)
            quarantine.append(
                {"where": pair.where, "line": line, "reason": reason, "row": json.dumps(pair.to_row())[:2000]}
            )
    return sides, quarantine, dict(facts)


def _split(pairs: list[EncodedPair]) -> tuple[list[EncodedPair], list[EncodedPair]]:
    """A stable tenth of the prompts is held out."""
    _, held_out = split_held_out([pair.pair for pair in pairs])
    ids = {id(pair) for pair in held_out}
    return [p for p in pairs if id(p.pair) not in ids], [p for p in pairs if id(p.pair) in ids]


def _columns(pairs: Sequence[EncodedPair]) -> dict[str, list[int]]:
    """What Great Expectations looks at: numbers, one a pair, and no text."""
    texts = [[text_of(side) for side in (p.pair.prompt, p.pair.chosen, p.pair.rejected)] for p in pairs]
    columns = {
        f"{side}_characters": [len(row[number]) for row in texts]
        for number, side in enumerate(("prompt", "chosen", "rejected"))
    }
    columns["answers_differ"] = [int(chosen != rejected) for _, chosen, rejected in texts]
    if any(pair.chosen_ids for pair in pairs):
        columns |= {
            f"{side}_tokens": [len(getattr(p, f"{side}_ids")) for p in pairs] for side in ("chosen", "rejected")
        }
    return columns


def _quarantined(quarantined: int, rows: int, validation: Validation) -> Measure:
    says = f"{quarantined} of {rows} rows cannot be used; quarantine.jsonl has them and why: mend or remove them"
    return Measure("structure/quarantined", quarantined / rows, None, validation.max_quarantined, says)


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
    reads: Sequence[ReadPairs],
    train: Sequence[EncodedPair],
    held_out: Sequence[EncodedPair],
    quarantine: Sequence[dict[str, Any]],
    counts: dict[str, Any],
    encoding_facts: dict[str, int],
    tokenizer: str | None,
) -> dict[str, Any]:
    """What the page shows beside the findings."""
    from importlib.metadata import version

    chosen, rejected = (
        [
            len(getattr(pair, f"{side}_ids")) if tokenizer else len(text_of(getattr(pair.pair, side)).split())
            for pair in train
        ]
        for side in ("chosen", "rejected")
    )
    packages = ("dpo-pipeline", "great-expectations", "scipy", "transformers")
    return {
        **{name: counts[name] for name in ("rows_in", "rows_kept", "rows_quarantined", "data_sha256", "format")},
        "train_rows": len(train),
        "eval_rows": len(held_out),
        "quarantine_reasons": dict(Counter(row["reason"].partition(":")[0] for row in quarantine).most_common(10)),
        "files": {f"{'train' if i == 0 else 'eval'}": read.sha256 for i, read in enumerate(reads)},
        "dropped_columns": dict(reads[0].dropped_columns),
        "tokenizer": "training tokenizer" if tokenizer else "none: words only",
        "encoding": encoding_facts,
        "lengths": length_bins(chosen, rejected, "tokens" if tokenizer else "words"),
        "versions": {name: version(name) for name in packages},
    }


def _document(examined: Examined, name: str) -> dict[str, Any]:
    return quality_document(name, examined.counts, examined.measures, examined.by_check, examined.facts)


def _files(examined: Examined, name: str, comparison: Comparison | None = None) -> dict[str, bytes]:
    """The report's files by name; half a surrogate pair, which a column's name may hold, is written as an escape."""
    from dpo_core.report.quality import quality_page

    page = quality_page(
        name=name,
        verdict=examined.counts["verdict"],
        findings=examined.findings,
        measures=examined.measures,
        by_check=examined.by_check,
        facts=examined.facts,
        comparison=comparison,
    )
    document = _document(examined, name) | ({"compare": comparison.to_document()} if comparison else {})
    quarantine = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in examined.quarantine)
    contents = (page, json.dumps(document, indent=2), quarantine, json.dumps(examined.expectations, indent=2))
    return {file: text.encode("utf-8", "backslashreplace") for file, text in zip(FILES, contents, strict=True)}


def _kept(store: Store, examined: Examined, name: str, reports_key: str) -> dict[str, Any]:
    """Store the rows and the report; what the stage remembers."""
    sha = examined.counts["data_sha256"]
    keys = {"train_key": f"data/{sha}/train.jsonl", "eval_key": f"data/{sha}/eval.jsonl"}
    for key, pairs in zip(keys.values(), (examined.train, examined.held_out), strict=True):
        store.put_bytes(key, "".join(json.dumps(pair.to_row()) + "\n" for pair in pairs).encode())
    for file, content in _files(examined, name).items():
        store.put_bytes(f"{reports_key}/{file}", content)
    return {**examined.counts, **keys}

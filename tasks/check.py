"""The data check as a task of a run: what it kept, its report, its verdict."""

import json
import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_file, digest_json
from dpo_core.evaluate.unseen import count_groups
from dpo_core.quality.profile import Profile
from dpo_core.report.compare import Comparison
from dpo_core.report.document import quality_document
from dpo_core.report.documents import QualityDocument
from infra.errors import ObjectMissing
from infra.ledger.chain import again_if_moved
from infra.registry.versions import parse
from infra.secrets import without_secrets
from infra.settings import load_settings
from infra.store import open_store
from infra.store.base import Store
from tasks.data_check.pipeline import examine_request
from tasks.data_check.publish import publish
from tasks.data_check.request import Examined, Request
from tasks.data_check.sides import record_head, record_sides, recorded_sides
from tasks.documents import CheckDocument, DataCheckFailed
from tasks.records import Checked, CheckOutput, CheckResult, Plan, Stage
from tasks.runtime.scratch import scratch_folder
from tasks.runtime.stages import remembered

log = logging.getLogger("dpo.check")
CODE = ("tasks.check",)
QUARANTINE = "quarantine.jsonl"
PROFILE = "profiles/{name}.json"  # what the next check of this name looks for drift against
FILES = ("quality.html", "quality.json", QUARANTINE, "expectations.json")


@task(name="check", cache_policy=NO_CACHE)
def check(plan: Plan) -> Checked:
    """Check the recipe's pairs before any model is loaded. Raises DataCheckFailed where the verdict is fail."""
    recipe, settings = plan.recipe, load_settings()
    store = open_store(settings, patient=True)
    benchmarks = {name: plan.files[path] for name, path in recipe.validation.benchmarks.items()}
    inputs = {
        "train": plan.files[recipe.data.train],
        "eval": plan.files.get(recipe.data.eval or ""),
        "validation": recipe.validation.model_dump() | {"benchmarks": benchmarks},
        "encoding": recipe.encoding.model_dump(),
        "text": recipe.data.text,
        "tokenizer": plan.tokenizer_sha256,
        "name": recipe.name,
        "recorded": [record_head(store, name) for name in models_of(plan)[1:]],  # the own one grows with the check
    }
    reports_key = f"reports/{recipe.name}-data-{digest_json(inputs)[:12]}"

    @again_if_moved
    def compute() -> CheckOutput:
        known, last = recorded_sides(store, models_of(plan))
        request = Request(
            recipe.data.train,
            recipe.data.eval,
            recipe.validation,
            recipe.encoding,
            plan.model_folder,
            known=known,
            previous=last_accepted(store, recipe.name),
            text=recipe.data.text,
            trusted_code=plan.trusted_code,
        )
        with scratch_folder(settings.home) as scratch:
            examined = examine_request(request, scratch, settings)
            if examined.result.verdict != "fail":
                new, sha256 = known.with_more(examined.sides).without(known), examined.result.data_sha256
                record_sides(store, recipe.name, new, base=last, data_sha256=sha256)
            return _keep(store, examined, plan, reports_key, scratch)

    def there(output: CheckOutput) -> bool:
        rows = (output.train_key, output.eval_key, output.train_ids_key, output.eval_ids_key)
        return all(map(store.exists, (*rows, *(f"{reports_key}/{name}" for name in FILES))))

    output, stage = remembered(
        store, "check", inputs, compute, output=CheckOutput, code=CODE, force=plan.force, there=there
    )
    checked = Checked(**dict(output), report=report_here(store, reports_key, stage), stage=stage)
    document = document_of(checked)
    publish(recipe.name, plan.run_id, plan.run_url, document, reports_key, without_secrets(settings.store_url))
    counts = (checked.rows_kept, checked.rows_quarantined, checked.rows_dropped)
    log.info("data_checked verdict=%s of=%s kept=%d quarantined=%d dropped=%d", checked.verdict, _of(checked), *counts)
    if checked.verdict == "fail":
        raise DataCheckFailed(document, recipe.name)
    _warn(checked)
    return checked


def models_of(plan: Plan) -> list[str]:
    """Models whose prompts keep their sides: this one, and the one that the run starts from."""
    start = plan.start_model
    return list(dict.fromkeys([plan.recipe.name, *([parse(start)[0]] if start.startswith("models:/") else [])]))


def _warn(checked: Checked, most: int = 3) -> None:
    """What a run goes on in spite of: the first finding of each check that warns."""
    warned = [f for f in checked.findings if f.severity == "warn" and not f.intended]
    for finding in list({f.check: f for f in reversed(warned)}.values())[: -most - 1 : -1]:
        log.warning("data_warning check=%s says='%s'", finding.check, finding.says)


def _of(checked: Checked, most: int = 3) -> str:
    """The checks behind a verdict that is no pass, the first few."""
    names = dict.fromkeys(f.check for f in checked.findings if f.severity == checked.verdict and not f.intended)
    more = [f"{len(names) - most}_more"] if len(names) > most else []
    return ",".join([*list(names)[:most], *more]) or "-"


def document_of(checked: CheckResult) -> CheckDocument:
    """The document of `dpo check --json`, of a result that knows its report."""
    names = CheckDocument.model_fields.keys() & type(checked).model_fields.keys()
    return CheckDocument(**{name: getattr(checked, name) for name in names})


def last_accepted(store: Store, name: str) -> Profile | None:
    """The profile of the data set that this model was last trained on, or could have been."""
    try:
        profile: Profile = json.loads(store.get_bytes(PROFILE.format(name=name)))
    except ObjectMissing:
        return None
    return profile


def report_document(examined: Examined, name: str) -> QualityDocument:
    """The report as data."""
    return quality_document(name, examined.result.model_dump(), examined.measures, examined.by_check, examined.facts)


def keep_report(store: Store, reports_key: str, examined: Examined, name: str) -> None:
    """Store the report's files, rows in quarantine included."""
    for file, content in report_files(examined, name).items():
        store.put_bytes(f"{reports_key}/{file}", content)
    store.put_file(f"{reports_key}/{QUARANTINE}", examined.quarantine)


def report_here(store: Store, reports_key: str, stage: Stage) -> str:
    """The report's page, on this machine: brought here unless the stage is a look-up and it is here already."""
    folder = load_settings().home / reports_key
    for name in FILES:
        if not stage.cached or not (folder / name).is_file():
            store.get_file(f"{reports_key}/{name}", folder / name)
    return str(folder / FILES[0])


def report_files(examined: Examined, name: str, comparison: Comparison | None = None) -> dict[str, bytes]:
    """The report's files by name; half a surrogate pair, which a column's name may hold, is written as an escape."""
    from dpo_core.report.quality import quality_page

    page = quality_page(
        name=name,
        verdict=examined.result.verdict,
        findings=examined.findings,
        measures=examined.measures,
        by_check=examined.by_check,
        facts=examined.facts,
        comparison=comparison,
    )
    document = report_document(examined, name).to_document() | (
        {"compare": comparison.to_document()} if comparison else {}
    )
    contents = (page, json.dumps(document, indent=2), json.dumps(examined.expectations, indent=2))
    names = (name for name in FILES if name != QUARANTINE)
    return {file: text.encode("utf-8", "backslashreplace") for file, text in zip(names, contents, strict=True)}


def _keep(store: Store, examined: Examined, plan: Plan, reports_key: str, scratch: Path) -> CheckOutput:
    """Store rows, their ids and the report; what the stage remembers."""
    result, name = examined.result, plan.recipe.name
    train = examined.spool.copy(examined.train, scratch / "train.jsonl", examined.weights)
    held_out = examined.spool.copy(examined.held_out, scratch / "eval.jsonl")
    train_ids = examined.ids.copy(examined.train, scratch / "train.ids.jsonl")
    held_out_ids = examined.ids.copy(examined.held_out, scratch / "eval.ids.jsonl")
    ids_sha256 = digest_json([digest_file(train_ids), digest_file(held_out_ids)])
    folder = f"data/{result.data_sha256}"
    asked = [pair.prompt for pair in examined.spool.pairs(examined.held_out.tolist())]
    output = CheckOutput(
        **dict(result),
        held_out_prompts=count_groups(asked),
        shortcuts=examined.shortcuts,
        train_key=f"{folder}/train.jsonl",
        eval_key=f"{folder}/eval.jsonl",
        train_ids_key=f"{folder}/{ids_sha256[:16]}/train.ids.jsonl",
        eval_ids_key=f"{folder}/{ids_sha256[:16]}/eval.ids.jsonl",
        ids_sha256=ids_sha256,
    )
    store.put_file(output.train_key, train)
    store.put_file(output.eval_key, held_out)
    store.put_file(output.train_ids_key, train_ids)
    store.put_file(output.eval_ids_key, held_out_ids)
    keep_report(store, reports_key, examined, name)
    if result.verdict != "fail":
        store.put_bytes(PROFILE.format(name=name), json.dumps(examined.profile).encode())
    return output

"""The data check as a task of a run, and by itself: what it kept, its report, its verdict."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from dpo_core.data.digests import digest_json
from dpo_core.quality.profile import Profile
from dpo_core.recipe import Encoding, Validation
from dpo_core.report.compare import Comparison, compare
from dpo_core.report.document import quality_document, read_report
from infra.errors import ObjectMissing
from infra.settings import load_settings, without_secrets
from infra.store import open_store
from infra.store.base import Store
from tasks.data_check.pipeline import examine_request
from tasks.data_check.publish import announce
from tasks.data_check.request import Examined, Request
from tasks.plan import Plan
from tasks.runtime.scratch import scratch_folder
from tasks.runtime.stages import Stage, remembered

log = logging.getLogger("dpo.check")
CODE = (
    "tasks/check.py",
    "tasks/data_check/mitigate.py",
    "tasks/data_check/columns.py",
    "tasks/data_check/pipeline.py",
    "tasks/data_check/request.py",
    "tasks/data_check/verdict.py",
    "tasks/data_check/read.py",
    "dpo_core/data",
    "dpo_core/quality",
    "dpo_core/report",
    "dpo_core/model/encode.py",
    "infra/expectations/project.py",
    "infra/expectations/rules.py",
)
QUARANTINE = "quarantine.jsonl"
PROFILE = "profiles/{name}.json"  # what the next check of this name looks for drift against
FILES = ("quality.html", "quality.json", QUARANTINE, "expectations.json")


@dataclass(frozen=True)
class Checked:
    """What the check decided, and where the rows that it kept lie in the store."""

    verdict: str
    rows_in: int
    rows_kept: int
    rows_quarantined: int
    rows_dropped: int  # by validation.on_shortcut
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
        names = ["verdict", "rows_in", "rows_kept", "rows_quarantined", "rows_dropped", "report", "findings"]
        names += ["data_sha256", "format"]
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
    store = open_store(settings, patient=True)
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
        data, previous = recipe.data, last_accepted(store, recipe.name)
        request = Request(
            data.train,
            data.eval,
            recipe.validation,
            recipe.encoding,
            plan.model_folder,
            previous=previous,
            trusted_code=plan.trusted_code,
        )
        with scratch_folder(settings.home) as scratch:
            return _kept(store, examine_request(request, scratch, settings), recipe.name, reports_key, scratch)

    def there(output: dict[str, Any]) -> bool:
        reports = (f"{reports_key}/{name}" for name in FILES)
        return all(store.exists(key) for key in (output["train_key"], output["eval_key"], *reports) if key)

    output, stage = remembered(store, "check", inputs, compute, code=CODE, force=plan.force, there=there)
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


def last_accepted(store: Store, name: str) -> Profile | None:
    """The profile of the data set that this model was last trained on, or could have been."""
    try:
        profile: Profile = json.loads(store.get_bytes(PROFILE.format(name=name)))
    except ObjectMissing:
        return None
    return profile


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
    request = Request(data, held_out, validation, Encoding(), folder, split=False)
    name, settings = Path(data).name, load_settings()
    with scratch_folder(settings.home) as scratch:
        examined = examine_request(request, scratch, settings)
        comparison = compare(old, _document(examined, name), str(earlier)) if old else None
        report_folder.mkdir(parents=True, exist_ok=True)
        for file, content in _files(examined, name, comparison).items():
            (report_folder / file).write_bytes(content)
        shutil.copyfile(examined.quarantine, report_folder / QUARANTINE)
    return Checked(
        **examined.counts,
        report=str(report_folder / FILES[0]),
        train_key="",
        eval_key="",
        stage=Stage("check", False, 0.0),
        compare=comparison.to_document() if comparison else None,
    )


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
    contents = (page, json.dumps(document, indent=2), json.dumps(examined.expectations, indent=2))
    names = (name for name in FILES if name != QUARANTINE)
    return {file: text.encode("utf-8", "backslashreplace") for file, text in zip(names, contents, strict=True)}


def _kept(store: Store, examined: Examined, name: str, reports_key: str, scratch: Path) -> dict[str, Any]:
    """Store the rows and the report; what the stage remembers."""
    sha = examined.counts["data_sha256"]
    keys = {"train_key": f"data/{sha}/train.jsonl", "eval_key": f"data/{sha}/eval.jsonl"}
    store.put_file(keys["train_key"], examined.write_train(scratch / "train.jsonl"))
    store.put_file(keys["eval_key"], examined.write_held_out(scratch / "eval.jsonl"))
    for file, content in _files(examined, name).items():
        store.put_bytes(f"{reports_key}/{file}", content)
    store.put_file(f"{reports_key}/{QUARANTINE}", examined.quarantine)
    if examined.counts["verdict"] != "fail":
        store.put_bytes(PROFILE.format(name=name), json.dumps(examined.profile).encode())
    return {**examined.counts, **keys}

"""`dpo check`: the check of bare pairs, and what becomes of a report. One that is compared with is kept."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from dpo_core.errors import InputError
from dpo_core.model.remote_code import trusted_code
from dpo_core.recipe import Recipe
from dpo_core.recipe_file import load_recipe
from dpo_core.report.compare import compare
from dpo_core.report.document import read_report, report_file
from infra.settings import Settings
from tasks.check import FILES, QUARANTINE, report_document, report_files
from tasks.data_check.pipeline import examine_request
from tasks.data_check.request import Request
from tasks.documents import CheckDocument
from tasks.runtime.models import local_model
from tasks.runtime.scratch import scratch_folder


def check_only(
    rules: Recipe, report_folder: Path, settings: Settings, *, model: str | None = None, earlier: str | None = None
) -> CheckDocument:
    """The check by itself, nothing remembered: `dpo check`. `earlier` is a report to compare with.

    Of `rules` data, validation, encoding and trust_remote_code count; without a `model` words alone are looked at.
    """
    old = read_report(Path(earlier)) if earlier else None  # before anything is written
    folder = local_model(model, settings.home, pin=rules.trust_remote_code) if model else None
    request = Request(
        rules.data.train,
        rules.data.eval,
        rules.validation,
        rules.encoding,
        str(folder) if folder else None,
        split=False,
        text=rules.data.text,
        trusted_code=trusted_code(rules.trust_remote_code, folder) if folder else None,
    )
    name = Path(rules.data.train).name
    with scratch_folder(settings.home) as scratch:
        examined = examine_request(request, scratch, settings)
        comparison = compare(old, report_document(examined, name), str(earlier)) if old else None
        report_folder.mkdir(parents=True, exist_ok=True)
        for file, content in report_files(examined, name, comparison).items():
            (report_folder / file).write_bytes(content)
        shutil.copyfile(examined.quarantine, report_folder / QUARANTINE)
    return CheckDocument(
        **dict(examined.result),
        report=str(report_folder / FILES[0]),
        compare=comparison.to_document() if comparison else None,
    )


def new_folder(data: str, home: Path, wanted: str | None, earlier: str | None) -> Path:
    """The folder of a report on `data`: as `wanted`, else by its name; beside `earlier`, one that is not there yet."""
    if wanted is not None:
        return _apart(Path(wanted), earlier)
    folder = home / "reports" / f"check-{Path(data).name}"
    if earlier is None:
        return folder
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in range(2, 10_000))
    return next(place for place in (folder, *numbered) if not place.exists())


def with_aims(recipe: str, overrides: Sequence[str], intended: Sequence[str]) -> list[str]:
    """The overrides with `intended` added to the aims that the recipe declares."""
    if not intended:
        return list(overrides)
    declared = load_recipe(recipe, overrides).recipe.validation.intended
    return [*overrides, f"validation.intended={json.dumps([*declared, *intended], ensure_ascii=False)}"]


def compared(wanted: str | None, earlier: str | None) -> Callable[[CheckDocument], CheckDocument]:
    """What to do with the document of a recipe's check: copy its report to `wanted`, compare it with `earlier`.

    The earlier report is read, and both are refused, before the check costs anything.
    """
    old = read_report(Path(earlier)) if earlier else None
    folder = _apart(Path(wanted), earlier) if wanted else None

    def finish(document: CheckDocument) -> CheckDocument:
        page = Path(document.report)
        changed: dict[str, object] = {}
        if old is not None:
            changed["compare"] = compare(old, read_report(page), str(earlier)).to_document()
        if folder is not None:
            shutil.copytree(page.parent, folder, dirs_exist_ok=True)
            changed["report"] = str(folder / page.name)
        return document.model_copy(update=changed)

    return finish


def _apart(folder: Path, earlier: str | None) -> Path:
    """`folder`, if nothing of the earlier report would be overwritten there."""
    if earlier is not None and report_file(Path(earlier)).parent.resolve() == folder.resolve():
        raise InputError(
            "the new report would overwrite the one that it is compared with",
            where=str(folder),
            do="name another folder with --report, or leave --report out",
        )
    return folder

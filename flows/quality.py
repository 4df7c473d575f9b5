"""The data check alone: on a schedule, or as `dpo check`."""

from pathlib import Path

from prefect import flow

from dpo_core.recipe import Validation
from infra.settings import load_settings, prepare_environment
from tasks.check import check, check_only, document_of
from tasks.documents import CheckDocument
from tasks.plan import plan
from tasks.runtime.models import local_model
from tasks.runtime.tracked import tracked


@flow(name="quality")
def quality(recipe: str, overrides: list[str] | None = None) -> CheckDocument:
    """Check the recipe's pairs and report; raises DataCheckFailed where they must not be trained on."""
    run = plan(recipe, overrides or [], force=False, kind="quality")
    with tracked(run):
        return document_of(check(run))


def check_files(
    data: str,
    held_out: str | None = None,
    model: str | None = None,
    report_folder: str | None = None,
    earlier: str | None = None,
) -> CheckDocument:
    """Check any file of pairs: with a model on its tokens, without on words alone. No flow, no server.

    `earlier` is the report of another check, to compare with.
    """
    settings = load_settings()
    prepare_environment(settings)
    folder = Path(report_folder) if report_folder else settings.home / "reports" / f"check-{Path(data).name}"
    model_folder = local_model(model, settings.home) if model else None
    return check_only(data, held_out, model_folder, folder, Validation(), Path(earlier) if earlier else None)

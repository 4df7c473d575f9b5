"""The data check alone: on a schedule, or as `dpo check`."""

from collections.abc import Sequence

from prefect import flow

from dpo_core.recipe_file import recipe_of_pairs
from infra.settings import load_settings, prepare_environment
from tasks.check import check, document_of
from tasks.commands.check_pairs import check_only, compared, new_folder, with_aims
from tasks.documents import CheckDocument, DataCheckFailed
from tasks.plan import plan
from tasks.runtime.tracked import tracked


@flow(name="quality")
def quality(recipe: str, overrides: list[str] | None = None) -> CheckDocument:
    """Check the recipe's pairs and report; raises DataCheckFailed where they must not be trained on."""
    run = plan(recipe, overrides or [], force=False, kind="quality")
    with tracked(run):
        return document_of(check(run))


def check_recipe(
    recipe: str,
    overrides: Sequence[str] = (),
    intended: Sequence[str] = (),
    report_folder: str | None = None,
    earlier: str | None = None,
) -> CheckDocument:
    """Check a recipe's pairs as its run does: a run of the same recipe after it finds this stage finished.

    `intended` are aims beside the recipe's own; `earlier` is the report of another check, to compare with.
    """
    finish = compared(report_folder, earlier)
    try:
        return finish(quality(recipe, with_aims(recipe, overrides, intended)))
    except DataCheckFailed as failed:
        return finish(failed.document)


def check_files(
    data: str,
    held_out: str | None = None,
    model: str | None = None,
    report_folder: str | None = None,
    earlier: str | None = None,
    intended: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> CheckDocument:
    """Check any file of pairs: with a model on its tokens, without on words alone. No flow, no server.

    `earlier` is the report of another check, to compare with: it is kept.
    """
    rules = recipe_of_pairs(data, held_out, model, intended, overrides)
    settings = load_settings()
    prepare_environment(settings)
    folder = new_folder(data, settings.home, report_folder, earlier)
    return check_only(rules, folder, settings, model=model, earlier=earlier)

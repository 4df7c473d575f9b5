"""Search better settings for a recipe within a budget, on training prompts set aside: never on what its gate uses."""

from prefect import flow

from dpo_core.recipe import Recipe
from dpo_core.recipe_file import load_as
from infra.settings import load_settings
from infra.studies import study_answers
from tasks.check import check
from tasks.plan import plan
from tasks.runtime.tracked import tracked
from tasks.select import select
from tasks.tune.begin import begin_search
from tasks.tune.conclude import conclude
from tasks.tune.documents import TuneDocument
from tasks.tune.split import cut
from tasks.tune.study import begun_trials, only_search
from tasks.tune.trial import try_side_by_side


@flow(name="tune")
def tune(recipe: str, overrides: list[str] | None = None) -> TuneDocument:
    """Cut a tuning split, try settings as long as the budget lasts, recommend those on a flat optimum.

    Run again it goes on: a trial that was begun is finished, one that was finished is never repeated.
    """
    written, _ = load_as(Recipe, recipe, overrides or [])
    with only_search(written):
        run = plan(recipe, overrides or [], force=False, kind="tune")
        with tracked(run), study_answers(load_settings()):
            search = begin_search(run, cut(run, select(run, check(run))))
            while numbers := begun_trials(search):
                try_side_by_side(search, numbers)
            return conclude(search, recipe, written)

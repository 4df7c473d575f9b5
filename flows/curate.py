"""Pairs from the model's own answers, by correction or by choice, or from what people said of served ones."""

from prefect import flow

from tasks.curate.answer import answer
from tasks.curate.check import check_pairs
from tasks.curate.documents import CurateDocument
from tasks.curate.gather import gather_prompts
from tasks.curate.pair import pair_answers
from tasks.curate.plan import plan_curation
from tasks.curate.shelve import document_of, shelve
from tasks.curate.traced import pair_feedback
from tasks.runtime.tracked import tracked


@flow(name="curate")
def curate(recipe: str, overrides: list[str] | None = None, force: bool = False) -> CurateDocument:
    """Gather prompts, answer them, make pairs, check them, store them as a data set version.

    `recipe` is a YAML file, `overrides` are `key=value`, `force` draws every answer anew. Run again it goes on where
    it was interrupted: what was answered, scored or paid for is never asked again. Raises DataCheckFailed where the
    pairs must not be trained on.
    """
    run = plan_curation(recipe, overrides or [], force)
    with tracked(run):
        if run.curation.way == "feedback":
            gathered, answered, paired = None, None, pair_feedback(run)
        else:
            gathered = gather_prompts(run)
            answered = answer(run, gathered)
            paired = pair_answers(run, gathered, answered)
        checked = check_pairs(run, paired)
        shelved = shelve(run, paired, checked)
        return document_of(run, gathered, answered, paired, checked, shelved)

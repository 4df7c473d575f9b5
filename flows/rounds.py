"""Curate from a model's answers, retrain it on them, curate from what came of it: round after round."""

from prefect import flow

from flows.curate import curate
from flows.retrain import retrain
from tasks.curate.documents import RoundsDocument
from tasks.rounds import begin, finished, ran_away, record, recorded


@flow(name="rounds")
def rounds(recipe: str, overrides: list[str] | None = None, force: bool = False) -> RoundsDocument:
    """As many rounds as the recipe says, or until the gate finds no gain, or answers run away: then nothing is trained.

    Each round is a run of `curate` and one of `retrain`, with their own MLflow runs; run again, what is finished is a
    look-up. `force` draws every answer anew; a round that comes to the same pairs keeps its training and its verdict.
    Raises DataCheckFailed where a round's pairs must not be trained on.
    """
    story = begin(recipe, overrides or [])
    while not (ended := finished(story)):
        line = recorded(story)
        if line is None or force:
            made = curate(recipe, story.curation_overrides, force=force)
            if line is None or line.curation.dataset != made.dataset:
                away = ran_away(story, made)
                trained = None if away else retrain(story.retrain_recipe, story.retrain_overrides(made))
                line = record(story, made, trained)
        story = story.with_round(line)
    return RoundsDocument(rounds=list(story.lines), ended=ended)

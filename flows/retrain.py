"""Retrain on the newest pairs; promote only a model that is better than the one in use."""

from prefect import flow

from tasks.check import check
from tasks.documents import Retrained
from tasks.evaluate import evaluate
from tasks.plan import plan
from tasks.promote import promote
from tasks.release import gate, register
from tasks.runtime.tracked import tracked
from tasks.score import score
from tasks.seeds.records import DivergedSeed, SeedModel
from tasks.seeds.several import attempt, each_seed, middle
from tasks.select import select
from tasks.states import named_end
from tasks.summary import nothing_new, summarise
from tasks.train import train


@flow(name="retrain")
@named_end
def retrain(recipe: str, overrides: list[str] | None = None, force: bool = False) -> Retrained:
    """Check, select, score, train, evaluate, register, gate, promote; a stage whose inputs are unchanged is a look-up.

    With `training.seeds` several candidates are trained and evaluated, and the middle one goes on; one that diverges
    is the worst.

    `recipe` is a YAML file, `overrides` are `key=value`, `force` computes every stage anew. Returns what
    `dpo retrain` prints. Raises DataCheckFailed where the data must not be trained on.
    """
    run = plan(recipe, overrides or [], force)
    with tracked(run):
        checked = select(run, check(run))
        if checked.new == 0:
            return nothing_new(run, checked)
        scored = score(run, checked)
        tried: list[SeedModel | DivergedSeed] = []
        for one in each_seed(run):
            with attempt(one, tried):
                trained = train(one, checked, scored)
                evaluated = evaluate(one, checked, scored, trained)
                tried.append(SeedModel(seed=one.seed, trained=trained, evaluated=evaluated))
        run, trained, evaluated = middle(run, tried)
        registered = register(run, checked, scored, trained, evaluated)
        gated = gate(run, evaluated, registered)
        promoted = promote(run, registered, gated, trained.ran_away)
        return summarise(run, checked, scored, trained, evaluated, registered, gated, promoted, tried)

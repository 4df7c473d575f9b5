"""Each seed of `training.seeds` trained and evaluated; the middle one goes on to the gate, a lucky one does not."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from dpo_core.data.digests import digest_json
from dpo_core.errors import Diverged
from infra.settings import load_settings
from infra.tracking.runs import attach_run, open_run
from tasks.records import Evaluated, Plan, Trained, logged
from tasks.runtime.tracked import tracked
from tasks.seeds.records import DivergedSeed, SeedModel
from tasks.seeds.spread import first_metric

log = logging.getLogger("dpo.train")


def each_seed(plan: Plan) -> Iterator[Plan]:
    """The run of each seed, from the recipe's on; of several each has an MLflow run, nested in the run's."""
    seeds = range(plan.recipe.seed, plan.recipe.seed + plan.recipe.training.seeds)
    if len(seeds) == 1:
        yield plan
        return
    for seed in seeds:
        key, root = digest_json([plan.run_id, "seed", seed]), load_settings().artifact_root
        run = open_run(plan.recipe.name, run_key=key, run_name=f"seed {seed}", artifact_root=root, parent=plan.run_id)
        yield plan.model_copy(update={"training_seed": seed, "run_id": run.id})


@contextmanager
def attempt(plan: Plan, tried: list[SeedModel | DivergedSeed]) -> Iterator[None]:
    """The work on one seed: of several one that diverges is among those tried, and the others go on.

    Raises Diverged as soon as the middle one is certain to be one of them.
    """
    several = plan.recipe.training.seeds > 1
    try:
        with tracked(plan) if several else nullcontext():
            yield
    except Diverged as error:
        if not several:
            raise
        log.warning("seed_diverged seed=%d where=%s reason=%r", plan.seed, error.where, error.says)
        tried.append(DivergedSeed(seed=plan.seed, says=error.says, where=error.where, do=error.do))
        _require_middle(tried, plan.recipe.training.seeds)


def middle(plan: Plan, tried: Sequence[SeedModel | DivergedSeed]) -> tuple[Plan, Trained, Evaluated]:
    """The median by the gate's first metric, of an even number the lower of the two: chosen by no luck.

    By the items that the gate sees: what is sealed from it selects nothing. Seeds that diverged are the worst.
    """
    metric = first_metric(plan)
    diverged = [one for one in tried if isinstance(one, DivergedSeed)]
    models = [one for one in tried if isinstance(one, SeedModel)]
    models.sort(key=lambda one: (one.evaluated.gated.get(metric, -math.inf), one.seed))
    chosen = models[(len(tried) - 1) // 2 - len(diverged)]
    if len(tried) == 1:
        return plan, chosen.trained, chosen.evaluated
    run = attach_run(plan.run_id)
    run.tags({"dpo.seed": chosen.seed})
    run.metrics(logged(chosen.evaluated.metrics))
    log.info("seed_chosen seed=%d of=%d metric=%s", chosen.seed, len(tried), metric)
    return plan.model_copy(update={"training_seed": chosen.seed}), chosen.trained, chosen.evaluated


def _require_middle(tried: Sequence[SeedModel | DivergedSeed], seeds: int) -> None:
    diverged = [one for one in tried if isinstance(one, DivergedSeed)]
    if len(diverged) > (seeds - 1) // 2:
        each = "; ".join(f"seed {one.seed}: {one.says}" for one in diverged)
        says = f"{len(diverged)} of {seeds} seeds diverged, the middle one among them. {each}"
        raise Diverged(says, where=f"seed {diverged[0].seed}: {diverged[0].where}", do=diverged[0].do)
